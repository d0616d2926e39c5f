"""Faces followed from frame to frame: the whole cascade on a few frames, its last stage on the rest.

A face between two frames in which it was found is nearly always between the two places. So a stretch of frames is
halved again and again: where a frame's neighbours have a face, O-Net, the last stage of the cascade, looks there and
corrects the box. Whatever it does not find is searched for in the whole frame.
"""

import sys
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from PIL import Image

from emolabel.config import FaceSettings
from emolabel.faces.cascade import (
    O_INPUT_PX,
    REGIONS_AT_ONCE,
    MtcnnDetector,
    check_frames,
    exact_inference,
    shifted,
    squared,
)
from emolabel.faces.track import iou
from emolabel.types import Detections, Float32Array, UInt8Array

CUT = 30.0
"""Mean difference of two frames, of 255, from which on they are taken for two shots."""
_CUT_GRID = 32
"""Pixels of each row and column that are compared for it."""
EMPTY_STEP = 3
"""Where no face stands at either end of a stretch, at least every third frame is searched."""
SMALL_LEVELS = 3
"""Finest levels of the pyramid, which take seven eighths of the proposals' time, and see faces under 56 px."""
BIG = 1.3
"""A face so many times as high as the smallest that the other levels are made for is bigger than any they miss."""
ALIKE = 2.0
"""Two boxes apart may be one face that moved if neither has more than so many times the area of the other."""


class FollowingDetector:
    """Searches some frames as a whole, those on both sides of a cut, and those where it lost a face.

    A face that comes and goes between two searched frames is not seen. With `settings.mode` `biggest` only the biggest
    face of the frames searched is looked for in the others.
    """

    def __init__(self, settings: FaceSettings, device: str = "cpu") -> None:
        """Loads the weights that ship with facenet-pytorch."""
        self._every = settings.detect_every
        self._most = 1 if settings.mode == "biggest" else sys.maxsize
        self._device = torch.device(device)
        self._whole = MtcnnDetector(settings, device)

    def detect(self, frames: UInt8Array) -> list[Detections]:
        """See `FaceDetector.detect`."""
        check_frames(frames)
        if not len(frames):
            return []
        searched = _searched_frames(frames, self._every)
        found = dict(zip(searched, self._search(frames[searched]), strict=True))
        gaps = _open(pairwise(searched))
        while gaps:
            middles = {(a + b) // 2: (a, b) for a, b in gaps}
            expected = {i: self._expected(found[a], found[b], (i - a) / (b - a)) for i, (a, b) in middles.items()}
            found |= self._look_there(frames, expected)
            lost = [i for i, boxes in expected.items() if len(found[i]) < len(boxes)]
            lost += [i for i, (a, b) in middles.items() if not len(expected[i]) and b - a > EMPTY_STEP]
            found |= dict(zip(lost, self._search(frames[lost]), strict=True))
            gaps = _open(pair for i, (a, b) in middles.items() for pair in ((a, i), (i, b)))
        return [found[i] for i in range(len(frames))]

    def _search(self, frames: UInt8Array) -> list[Detections]:
        """The faces in each frame; where only the biggest counts, small ones only where there is no big one."""
        if self._most > 1:
            return self._whole.detect(frames)
        found = self._whole.detect(frames, skip_levels=SMALL_LEVELS)
        big_px = BIG * self._whole.smallest_px(frames, SMALL_LEVELS)
        without = [i for i, faces in enumerate(found) if not (faces.boxes[:1, 3] - faces.boxes[:1, 1] >= big_px).any()]
        for i, faces in zip(without, self._whole.detect(frames[without]), strict=True):
            found[i] = faces
        return found

    def _expected(self, before: Detections, after: Detections, part: float) -> Float32Array:
        """(n, 4) boxes: where faces should be, `part` of the way from one frame to another."""
        return _between(before.boxes[: self._most], after.boxes[: self._most], part)

    def _look_there(self, frames: UInt8Array, expected: dict[int, Float32Array]) -> dict[int, Detections]:
        """What is found where faces are expected in some frames: at most as many."""
        owner = np.concatenate([np.full(len(boxes), i) for i, boxes in expected.items()])
        boxes = squared(torch.from_numpy(np.concatenate(list(expected.values()))))
        scores = torch.zeros(len(boxes))
        for start in range(0, len(boxes), REGIONS_AT_ONCE):
            some = slice(start, start + REGIONS_AT_ONCE)
            views = np.stack([view(frames[i], box) for i, box in zip(owner[some], boxes[some].numpy(), strict=True)])
            with exact_inference():
                shift, score = self._whole.networks.decide(torch.from_numpy(views).to(self._device))
            boxes[some] = shifted(boxes[some], shift.cpu(), extra_px=1)
            scores[some] = score.cpu()
        all_boxes, all_scores = boxes.numpy(), scores.numpy()
        return {i: self._whole.clean(all_boxes[owner == i], all_scores[owner == i]) for i in expected}


def _searched_frames(frames: UInt8Array, every: int) -> list[int]:
    """The first frame, the last one, evenly between them at least every n-th, and the two at each cut."""
    n = len(frames)
    steps = -(-(n - 1) // every)
    evenly = np.linspace(0, n - 1, steps + 1).round().astype(np.intp)
    rows, columns = (np.linspace(0, side - 1, _CUT_GRID).astype(np.intp) for side in frames.shape[1:3])
    grid = frames[:, rows[:, None], columns].astype(np.int16)
    cuts = np.flatnonzero(np.abs(np.diff(grid, axis=0)).mean(axis=(1, 2, 3)) > CUT)
    return sorted({*evenly.tolist(), *cuts.tolist(), *(cuts + 1).tolist()})


def _open(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those with frames in between."""
    return [(a, b) for a, b in pairs if b - a > 1]


def _between(before: Float32Array, after: Float32Array, part: float) -> Float32Array:
    """Boxes `part` of the way from (n, 4) to (m, 4) ones.

    Those that overlap most are taken for the same face, and of the rest the biggest ones of about the same size:
    somebody may walk fast. What is left over on either side stays where it is.
    """
    areas_before, areas_after = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (before, after))
    ratio = areas_before[:, None] / areas_after[None, :]
    overlap = iou(before, after)
    likeness = np.where(overlap > 0, 1 + overlap, 0.5 * ((ratio <= ALIKE) & (ratio >= 1 / ALIKE)))
    pairs: list[tuple[int, int]] = []
    while likeness.max(initial=0) > 0:
        a, b = divmod(int(likeness.argmax()), len(after))  # the first of equals, and so the biggest
        likeness[a], likeness[:, b] = 0, 0
        pairs.append((a, b))
    first, second = np.array(pairs, np.intp).reshape(-1, 2).T
    moving = (1 - part) * before[first] + part * after[second]
    return np.concatenate([moving, np.delete(before, first, 0), np.delete(after, second, 0)]).astype(np.float32)


def view(frame: UInt8Array, box: Float32Array) -> Float32Array:
    """What O-Net sees of a box: the part of it inside the frame, as a square of (O_INPUT_PX, O_INPUT_PX, 3), 0-255."""
    limits = np.array(frame.shape[1::-1])
    low = np.clip(box[:2].astype(np.intp) - 1, 0, limits - 1)
    high = np.clip(box[2:].astype(np.intp), low + 1, limits)
    part = Image.fromarray(np.ascontiguousarray(frame[low[1] : high[1], low[0] : high[0]]))
    return np.asarray(part.resize((O_INPUT_PX, O_INPUT_PX), Image.Resampling.BOX), np.float32)
