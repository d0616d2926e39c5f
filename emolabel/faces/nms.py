"""Non-maximum suppression by torchvision's operator, without the rest of torchvision: importing its models, and what
these bring along, would take a second of every worker's start.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor


def batched_nms(boxes: Tensor, scores: Tensor, owner: Tensor, max_iou: float) -> Tensor:
    """Which boxes to keep, by descending score: those that overlap none of the same owner with a higher one too much.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,)
        owner: (n,) the frame of each.
        max_iou: overlap (intersection over union) up to which two boxes may stay.
    """
    _load()
    if boxes.is_cuda:  # one call for all, instead of a few for each frame
        return _nms(apart(boxes, owner), scores, max_iou)
    kept = [torch.empty(0, dtype=torch.int64, device=boxes.device)]
    for one in set(owner.tolist()):
        members = torch.nonzero(owner == one).squeeze(1)
        kept.append(members[_nms(boxes[members], scores[members], max_iou)])
    keep = torch.cat(kept)
    return keep[scores[keep].argsort(descending=True, stable=True)]


def apart(boxes: Tensor, owner: Tensor) -> Tensor:
    """The same boxes moved so that those of different owners do not touch."""
    if not len(boxes):
        return boxes
    step = boxes.max() - boxes.min() + 1
    return boxes + (owner * step).unsqueeze(1)


def _nms(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    keep: Tensor = torch.ops.torchvision.nms(boxes, scores, max_iou)
    return keep


@cache
def _load() -> None:
    spec = find_spec("torchvision")
    assert spec is not None, "a dependency of ours"
    assert spec.origin is not None
    (library,) = Path(spec.origin).parent.glob("_C.*")
    torch.ops.load_library(library)  # type: ignore[no-untyped-call]
