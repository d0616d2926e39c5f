"""Face detection against `facenet_pytorch.MTCNN.detect`, one thread each: `python -m bench.detection VIDEO ...`."""

import argparse
from pathlib import Path

import av
import numpy as np
import torch
from facenet_pytorch import MTCNN

from bench.timing import Comparison, compare, report
from emolabel.config import FaceSettings
from emolabel.faces.detect import FaceDetector, build_detector
from emolabel.faces.track import iou
from emolabel.types import Float32Array, UInt8Array


def read_frames(path: Path, most: int = 48) -> UInt8Array:
    """The first frames of a clip, (T, H, W, 3)."""
    with av.open(str(path)) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return np.stack([frame for frame, _ in zip(frames, range(most), strict=False)])


def detect_all(mtcnn: MTCNN, frames: UInt8Array) -> list[Float32Array]:
    """Boxes of each frame, (n, 4), the biggest first, as one gets them by hand."""
    found = []
    for frame in frames:
        boxes, _ = mtcnn.detect(frame)
        some = np.zeros((0, 4), np.float32) if boxes is None else np.asarray(boxes, np.float32)
        found.append(some[np.argsort(-np.prod(some[:, 2:] - some[:, :2], axis=1))])
    return found


def compare_detectors(path: Path, most: int = 48) -> list[Comparison]:
    """The cascade on every frame, and with faces followed, on the frames of a clip."""
    frames = read_frames(path, most)
    # Its thresholds and its size: what is compared is the same search.
    side = max(frames.shape[1:3])
    every = build_detector(FaceSettings(detect_every=1, min_score=0.7, detect_max_side_px=side))
    default = build_detector(FaceSettings())
    mtcnn = MTCNN(keep_all=True)
    theirs = detect_all(mtcnn, frames)
    what = f"{path.stem}, {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"
    return [
        compare(
            f"every frame: {what}",
            lambda: every.detect(frames),
            lambda: detect_all(mtcnn, frames),
            _same_faces(every, frames, theirs),
        ),
        compare(
            f"followed: {what}",
            lambda: default.detect(frames),
            lambda: detect_all(mtcnn, frames),
            _same_biggest(default, frames, theirs),
        ),
    ]


def _same_faces(detector: FaceDetector, frames: UInt8Array, theirs: list[Float32Array]) -> str:
    pairs = zip(theirs, detector.detect(frames), strict=True)
    overlaps = np.concatenate([iou(boxes, ours.boxes).max(axis=1, initial=0) for boxes, ours in pairs])
    return f"{np.mean(overlaps >= 0.99):.1%} of {len(overlaps)} faces at IoU 0.99"


def _same_biggest(detector: FaceDetector, frames: UInt8Array, theirs: list[Float32Array]) -> str:
    pairs = zip(theirs, detector.detect(frames), strict=True)
    overlaps = np.array([iou(boxes[:1], ours.boxes[:1]).max(initial=0) for boxes, ours in pairs if len(boxes)])
    found = overlaps[overlaps > 0]
    return f"biggest face in {len(found)} of {len(overlaps)} frames, IoU {np.mean(found) if len(found) else 0:.3f}"


def main() -> None:
    """Compare on some clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=48, help="consecutive ones, from the first")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [result for video in options.videos for result in compare_detectors(video, options.frames)]
    report(results, Path("bench-detection.parquet"))


if __name__ == "__main__":
    main()
