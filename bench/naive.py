"""What a user would write: one process, clip after clip, `MTCNN.detect` on every sampled frame at full size, no Ray.

`python -m bench.naive FOLDER OUT.parquet` labels the biggest face and the sound of every 5 s, with the same bundle.
"""

import argparse
from pathlib import Path

import decord
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from facenet_pytorch import MTCNN

from emolabel.config import DEFAULT_MODEL, WindowPolicy
from emolabel.faces.crop import crop_face
from emolabel.labels import EMOTIONS
from emolabel.media.windows import cut_windows, frames_in
from emolabel.models.bundle import load_bundle
from emolabel.sampling import AudioSampling, FrameSampling
from emolabel.types import ClipInputs, CropSequence, Float32Array, Window


def biggest_faces(
    frames: decord.VideoReader, window: Window, times_s: np.ndarray, sampling: FrameSampling, mtcnn: MTCNN
) -> CropSequence | None:
    """Crops of the sampled frames of a window; a frame without a face is left out."""
    numbers = frames_in(window, times_s)
    crops = []
    for frame in frames.get_batch((numbers.start + sampling.indices(len(numbers))).tolist()).asnumpy():
        boxes, _ = mtcnn.detect(frame)
        if boxes is not None:
            biggest = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
            box = np.asarray(biggest, np.float32)
            crops.append(crop_face(frame, box, sampling.crop_px, sampling.margin, sampling.square))
    if not crops:
        return None
    return CropSequence(np.stack(crops), np.linspace(0, len(crops) - 1, sampling.count).round().astype(np.int32))


def sound(samples: Float32Array, window: Window, sampling: AudioSampling) -> Float32Array:
    """The stretch of a whole signal that the model listens to."""
    start_s, end_s = sampling.span(window.start_s, window.end_s)
    first = round(start_s * sampling.sample_rate_hz)
    return samples[first : first + round((end_s - start_s) * sampling.sample_rate_hz)][: sampling.n_samples]


def main() -> None:
    """Label a folder of videos with sound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    model = load_bundle(DEFAULT_MODEL, "cpu").model
    spec = model.input_spec
    assert spec.face is not None
    assert spec.audio is not None
    mtcnn = MTCNN(keep_all=True)
    rows = []
    for path in sorted(options.folder.iterdir()):
        frames = decord.VideoReader(str(path))
        samples = decord.AudioReader(str(path), sample_rate=spec.audio.sample_rate_hz, mono=True)[:].asnumpy()[0]
        times_s = frames.get_frame_timestamp(range(len(frames)))[:, 0].astype(np.float64)
        for window in cut_windows(0.0, float(times_s[-1]) + 1 / frames.get_avg_fps(), WindowPolicy()):
            face = biggest_faces(frames, window, times_s, spec.face, mtcnn)
            [label] = model.predict([ClipInputs(face=face, audio=sound(samples, window, spec.audio))])
            assert label.probabilities is not None
            row = {"video": path.name, "window_index": window.index}
            rows.append(row | {"dominant_emotion": EMOTIONS[int(label.probabilities.argmax())]})
    pq.write_table(pa.Table.from_pylist(rows), options.out)


if __name__ == "__main__":
    main()
