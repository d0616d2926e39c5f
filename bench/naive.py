"""What a user would write: `MTCNN.detect` on every sampled frame at full size, then the model, clip after clip."""

from pathlib import Path

import decord
import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image

from emolabel.models.base import EmotionModel
from emolabel.types import ClipInputs, CropSequence, Prediction, UInt8Array


def sampled_frames(path: Path, model: EmotionModel) -> UInt8Array:
    """(T, H, W, 3) frames that the face branch looks at, of a clip of one window."""
    spec = model.input_spec.face
    assert spec is not None
    reader = decord.VideoReader(str(path))
    frames: UInt8Array = reader.get_batch(np.unique(spec.indices(len(reader))).tolist()).asnumpy()
    return frames


def label_clip(path: Path, mtcnn: MTCNN, model: EmotionModel) -> Prediction:
    """Label the biggest face of a clip of one window."""
    spec = model.input_spec.face
    assert spec is not None
    crops = []
    for frame in sampled_frames(path, model):
        boxes, _ = mtcnn.detect(Image.fromarray(frame))
        if boxes is not None:
            biggest = tuple(max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])))
            crops.append(np.asarray(Image.fromarray(frame).crop(biggest).resize((spec.crop_px, spec.crop_px))))
    index = np.linspace(0, len(crops) - 1, spec.count).round().astype(np.int32)
    return model.predict([ClipInputs(face=CropSequence(np.stack(crops), index))])[0]
