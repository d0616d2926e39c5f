"""Whether the cascade finds facenet-pytorch's faces, clip by clip: `python -m bench.agreement FOLDER`.

Sixteen frames of each clip, evenly over its first two hundred; nothing is timed.
"""

import argparse
from pathlib import Path

import av
import numpy as np
import torch
from facenet_pytorch import MTCNN
from rich.console import Console

from bench.detection import detect_all, read_frames
from emolabel.config import FaceSettings
from emolabel.faces.detect import build_detector
from emolabel.faces.track import iou
from emolabel.types import UInt8Array

FRAMES, OF_THE_FIRST = 16, 200


def overlaps(frames: UInt8Array, mtcnn: MTCNN) -> list[float]:
    """For each of facenet-pytorch's faces the IoU with the nearest of ours, every frame searched at full size."""
    side = max(frames.shape[1:3])
    ours = build_detector(FaceSettings(detect_every=1, min_score=0.7, detect_max_side_px=side)).detect(frames)
    pairs = zip(detect_all(mtcnn, frames), ours, strict=True)
    return [float(best) for theirs, found in pairs for best in iou(theirs, found.boxes).max(axis=1, initial=0)]


def main() -> None:
    """A line for each clip that decodes, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, mtcnn = Console(width=120), MTCNN(keep_all=True)
    each: list[list[float]] = []
    for path in sorted(path for path in options.folder.rglob("*") if path.is_file()):
        try:
            frames = read_frames(path, OF_THE_FIRST)
            frames = frames[np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))]
            each.append(overlaps(frames, mtcnn))
        except (av.error.FFmpegError, ValueError, IndexError, RuntimeError) as error:
            console.print(f"{path.name}: not compared ({type(error).__name__})")
            continue
        console.print(f"{path.name}: {sum(one >= 0.99 for one in each[-1])} of {len(each[-1])} faces")
    found = [one for clip in each for one in clip]
    same = sum(one >= 0.99 for one in found)
    console.print(f"{same} of {len(found)} faces of {len(each)} clips at IoU 0.99: {same / max(len(found), 1):.2%}")


if __name__ == "__main__":
    main()
