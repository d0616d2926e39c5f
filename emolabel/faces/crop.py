"""Face crops, as the aligner that goes with FaceNet cuts them: a margin, a bilinear resize, no rotation."""

import math

import numpy as np
from PIL import Image

from emolabel.types import Float32Array, UInt8Array


def crop_face(frame: UInt8Array, box: Float32Array, crop_px: int, margin: float, square: bool = False) -> UInt8Array:
    """The face in `box` with some of its surroundings, as a square.

    The box grows until `margin` of the crop's side lies outside it: facenet-pytorch's `extract_face` with
    `margin=0.2 * 160` at 160 px. What would lie outside the frame is left out, so that at the frame's edge the
    picture is stretched, as there. The resize is Pillow's bilinear one, which averages when it shrinks: that of
    `extract_face`, and of the `imresize` in FaceNet's own aligner, on which the published weights were trained.

    Args:
        frame: (H, W, 3) uint8.
        box: (4,) x1, y1, x2, y2 in pixels of the frame. May reach over its edge; of a box wholly outside, the nearest
            pixels at the edge are taken.
        crop_px: side S of the crop.
        margin: 0 up to, not including, 1; both sides together.
        square: cut a square of the box's area around its middle, so that faces keep their proportions, instead of
            stretching the box to one.

    Returns:
        (S, S, 3) uint8.

    Raises:
        ValueError: a margin or a box that makes no sense.
    """
    if not 0 <= margin < 1:
        raise ValueError(f"the margin must lie in [0, 1), got {margin}")
    if not np.isfinite(box).all():
        raise ValueError(f"expected a finite box, got {box}")
    height, width = frame.shape[:2]
    left, top, right, bottom = _squared(box) if square else map(float, box)
    x1, x2 = _grown(left, right, margin, width)
    y1, y2 = _grown(top, bottom, margin, height)
    region = Image.fromarray(np.ascontiguousarray(frame[y1:y2, x1:x2]))
    return np.array(region.resize((crop_px, crop_px), Image.Resampling.BILINEAR))


def _squared(box: Float32Array) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, box)
    half = math.sqrt(max(x2 - x1, 0) * max(y2 - y1, 0)) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half, y - half, x + half, y + half


def _grown(low: float, high: float, margin: float, limit: int) -> tuple[int, int]:
    """`[start, end)` in whole pixels of one side with its margin, inside `[0, limit)`, at least one pixel."""
    extra = margin * (high - low) / (1 - margin)
    start = min(int(max(low - extra / 2, 0)), limit - 1)
    end = max(int(min(high + extra / 2, limit)), start + 1)
    return start, end
