"""Face detection: the MTCNN cascade (Zhang et al. 2016) with facenet-pytorch's networks and weights.

facenet-pytorch's own driver is not used. It fails on tiny frames and on ragged results (its issues #176, #224), its
answer for a frame can depend on the others of the batch, and it crops candidates one at a time. This one finds the
same boxes in about half its time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from emolabel.config import FaceSettings
from emolabel.faces.integral import shrink, shrink_regions, summed_area
from emolabel.faces.networks import build_networks
from emolabel.faces.nms import batched_nms
from emolabel.types import Detections, Float32Array, UInt8Array

SCALE_STEP = 0.709
"""From one level of the pyramid to the next: about sqrt(1/2), half the area."""
P_THRESHOLD, R_THRESHOLD, O_THRESHOLD = 0.6, 0.7, 0.7
P_CELL_PX, P_STRIDE_PX = 12, 2
"""P-Net looks at 12x12 px, every 2 px."""
R_INPUT_PX, O_INPUT_PX = 24, 48
REGIONS_AT_ONCE = 512
"""Candidates per pass of R-Net and O-Net: bounds memory on frames full of texture."""


class MtcnnDetector:
    """MTCNN: proposals over an image pyramid (P-Net), two rounds of refinement (R-Net, O-Net)."""

    def __init__(self, settings: FaceSettings, device: str = "cpu", frames_at_once: int | None = None) -> None:
        """Loads the weights that ship with facenet-pytorch; `frames_at_once` None: what suits the device."""
        self._settings = settings
        self._device = torch.device(device)
        self.networks = build_networks(self._device)
        self._frames_at_once = frames_at_once or (8 if self._device.type == "cpu" else 32)

    def detect(self, frames: UInt8Array, skip_levels: int = 0) -> list[Detections]:
        """See `FaceDetector.detect`; what is found in a frame does not depend on the others (to 0.01 px).

        Args:
            skip_levels: finest levels of the pyramid that are left out, and with them the smallest faces.
        """
        check_frames(frames)
        found: list[Detections] = []
        with exact_inference():
            for start in range(0, len(frames), self._frames_at_once):
                found += self._detect_batch(frames[start : start + self._frames_at_once], skip_levels)
        return found

    def smallest_px(self, frames: UInt8Array, skip_levels: int) -> float:
        """Side of the smallest faces that such a search is made for, in pixels of these frames."""
        enlarged = max(1.0, max(frames.shape[1:3]) / self._settings.detect_max_side_px)
        return float(enlarged * self._settings.min_face_px / SCALE_STEP**skip_levels)

    def _detect_batch(self, frames: UInt8Array, skip_levels: int) -> list[Detections]:
        small = scale_down(frames, self._settings.detect_max_side_px)
        table = summed_area(torch.from_numpy(np.require(small, requirements=["C", "W"])).to(self._device))
        frame, boxes = self._propose(table, skip_levels)
        frame, boxes = self._refine(table, frame, boxes)
        frame, boxes, scores = self._decide(table, frame, boxes)

        to_full = np.tile([frames.shape[2] / small.shape[2], frames.shape[1] / small.shape[1]], 2)
        all_boxes = (boxes.cpu().numpy() * to_full).astype(np.float32)
        all_scores = scores.cpu().numpy()
        owner = frame.cpu().numpy()
        return [self.clean(all_boxes[owner == i], all_scores[owner == i]) for i in range(len(frames))]

    def _propose(self, table: Tensor, skip_levels: int) -> tuple[Tensor, Tensor]:
        """Stage 1: candidate squares of all sizes. Returns (n,) frame of each and (n, 4) boxes."""
        height, width = table.shape[1] - 1, table.shape[2] - 1
        frames, boxes, scores, shifts = [], [], [], []
        for scale in islice(pyramid(height, width, self._settings.min_face_px), skip_levels, None):
            level = shrink(table, int(height * scale + 1), int(width * scale + 1))
            shift, probability = self.networks.propose(level)
            frame, y, x = torch.nonzero(probability >= P_THRESHOLD, as_tuple=True)
            score = probability[frame, y, x]
            corner = torch.stack([x, y, x, y], dim=1) * P_STRIDE_PX
            # The weights were trained with pixels counted from 1, as Matlab does.
            box = torch.floor((corner + corner.new_tensor([1, 1, P_CELL_PX, P_CELL_PX])) / scale)
            keep = batched_nms(box, score, frame, 0.5)
            frames.append(frame[keep])
            boxes.append(box[keep])
            scores.append(score[keep])
            shifts.append(shift[frame, :, y, x][keep])
        if not boxes:
            return table.new_zeros(0, dtype=torch.int64), torch.zeros((0, 4), device=table.device)
        frame, box = torch.cat(frames), torch.cat(boxes)
        keep = batched_nms(box, torch.cat(scores), frame, 0.7)
        frame, box, shift = frame[keep], box[keep], torch.cat(shifts)[keep]
        return frame, squared(shifted(box, shift, extra_px=0))

    def _refine(self, table: Tensor, frame: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Stage 2: R-Net throws most candidates out and corrects the rest."""
        frame, boxes, regions = _visible(table, frame, boxes)
        parts = [self.networks.refine(batch) for batch in _looks(table, frame, regions, R_INPUT_PX)]
        if not parts:
            return frame, boxes
        shift, score = (torch.cat(part) for part in zip(*parts, strict=True))
        passed = score > R_THRESHOLD
        frame, boxes, shift, score = frame[passed], boxes[passed], shift[passed], score[passed]
        keep = batched_nms(boxes, score, frame, 0.7)
        return frame[keep], squared(shifted(boxes[keep], shift[keep], extra_px=1))

    def _decide(self, table: Tensor, frame: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stage 3: O-Net gives the final boxes and scores."""
        frame, boxes, regions = _visible(table, frame, boxes)
        parts = [self.networks.decide(batch) for batch in _looks(table, frame, regions, O_INPUT_PX)]
        if not parts:
            return frame, boxes, boxes.new_zeros(0)
        shift, score = (torch.cat(part) for part in zip(*parts, strict=True))
        passed = score >= min(O_THRESHOLD, self._settings.min_score)
        frame, boxes, shift, score = frame[passed], boxes[passed], shift[passed], score[passed]
        return frame, shifted(boxes, shift, extra_px=1), score

    def clean(self, boxes: Float32Array, scores: Float32Array) -> Detections:
        """Final boxes of one frame: one per face, sound and sure ones only, the biggest first."""
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        sound &= scores >= 0  # NaN is not
        boxes, scores = boxes[sound], scores[sound]
        keep = suppress_nested(boxes, scores, 0.7)
        boxes, scores = boxes[keep], scores[keep]
        sure = scores >= self._settings.min_score
        boxes, scores = boxes[sure], scores[sure]
        order = np.lexsort((boxes[:, 1], boxes[:, 0], -scores, -_areas(boxes)))
        return Detections(boxes=boxes[order], scores=scores[order])


@contextmanager
def exact_inference() -> Iterator[None]:
    """Without gradients, and without TF32, which would round a GPU's convolutions to 10 bits: enough to move boxes."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def check_frames(frames: UInt8Array) -> None:
    """Raises ValueError unless these are frames."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"expected uint8 frames (T, H, W, 3), got {frames.dtype} {frames.shape}")


def scale_down(frames: UInt8Array, max_side_px: int) -> UInt8Array:
    """Frames (T, H, W, 3) with their longer side at most `max_side_px`, by the mean over areas; never enlarged."""
    height, width = frames.shape[1:3]
    factor = max_side_px / max(height, width)
    if factor >= 1:
        return frames
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def pyramid(height: int, width: int, min_face_px: int) -> Iterator[float]:
    """Scales at which P-Net's 12 px are `min_face_px` of the frame, then more, up to the shorter side."""
    scale = P_CELL_PX / min_face_px
    while min(height, width) * scale >= P_CELL_PX:
        yield scale
        scale *= SCALE_STEP


def suppress_nested(boxes: Float32Array, scores: Float32Array, max_overlap: float) -> list[int]:
    """Which of (n, 4) boxes to keep, best score first: none lies in a better one by more than `max_overlap`.

    Overlap is the part of the smaller box that both share, so a box around half a face goes, which IoU would leave.
    """
    areas = _areas(boxes, extra_px=1)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        sides = np.minimum(boxes[kept, 2:], boxes[i, 2:]) - np.maximum(boxes[kept, :2], boxes[i, :2]) + 1
        shared = np.prod(np.maximum(sides, 0), axis=1)
        if np.all(shared <= max_overlap * np.minimum(areas[kept], areas[i])):
            kept.append(i)
    return kept


def _areas(boxes: Float32Array, extra_px: int = 0) -> Float32Array:
    widths, heights = boxes[:, 2] - boxes[:, 0] + extra_px, boxes[:, 3] - boxes[:, 1] + extra_px
    return np.asarray(widths * heights)


def shifted(boxes: Tensor, shift: Tensor, extra_px: int) -> Tensor:
    """(n, 4) boxes with each edge moved by its (n, 4) regression, in parts of the box's sides."""
    sides = boxes[:, 2:] - boxes[:, :2] + extra_px
    return boxes + shift * sides.repeat(1, 2)


def squared(boxes: Tensor) -> Tensor:
    """(n, 4) boxes grown to squares around their centres."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.amax(dim=1, keepdim=True)
    corner = boxes[:, :2] + sides / 2 - longest / 2
    return torch.cat([corner, corner + longest], dim=1)


def _visible(table: Tensor, frame: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Drops candidates wholly outside their frame. Returns frame, boxes and their (n, 4) pixels inside it."""
    height, width = table.shape[1] - 1, table.shape[2] - 1
    x1, y1, x2, y2 = boxes.trunc().long().unbind(1)
    regions = torch.stack([(x1 - 1).clamp(min=0), (y1 - 1).clamp(min=0), x2.clamp(max=width), y2.clamp(max=height)], 1)
    inside = (regions[:, 2:] > regions[:, :2]).all(dim=1)
    return frame[inside], boxes[inside], regions[inside]


def _looks(table: Tensor, frame: Tensor, regions: Tensor, size: int) -> Iterator[Tensor]:
    """The regions as batches of network input, (n, size, size, 3)."""
    for start in range(0, len(regions), REGIONS_AT_ONCE):
        some = slice(start, start + REGIONS_AT_ONCE)
        yield shrink_regions(table, frame[some], regions[some], size)
