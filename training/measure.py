"""How well a model does on samples that it did not learn from, while it is being trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from emolabel.models.pini2017 import Pini2017
from emolabel.models.pini2017.branches import Branch
from training.clip_views import Caches, clip_views
from training.prepared import PreparedSet

_CLIPS_PER_PASS = 32


@dataclass(frozen=True)
class Measured:
    """On held-out samples."""

    loss: float
    """Mean -log p of the right class."""
    accuracy: float
    """Of the mean probability of each clip: "averaged" in the paper's Table 2."""
    single_right: int
    """Frames, slices or pieces that are right by themselves: "single" in that table."""
    single_all: int


def measure_branch(
    model: Pini2017, name: str, prepared: PreparedSet, numbers: Sequence[int], caches: Caches
) -> Measured | None:
    """A branch by itself; None where no sample has its modality."""
    seen = [number for number in numbers if getattr(prepared.samples[number], f"has_{name}")]
    if not seen:
        return None
    branch = model.branches[name]
    assert isinstance(branch, Branch)
    means, right, count = [], 0, 0
    with evaluating(model):
        for part in _parts(seen):
            features, present = clip_views(model, name, prepared, part, caches)
            views = branch.classifier(features)
            labels = torch.tensor([prepared.samples[number].label for number in part], device=views.device)
            hits = (views.argmax(dim=2) == labels[:, None]) & present
            right, count = right + int(hits.sum()), count + int(present.sum())
            shares = views.softmax(dim=2) * present[..., None]
            means.append((shares.sum(dim=1) / present.sum(dim=1, keepdim=True)).cpu())
    return measured(torch.cat(means), prepared, seen, right, count)


def measured(means: Tensor, prepared: PreparedSet, numbers: Sequence[int], right: int = 0, count: int = 0) -> Measured:
    """Loss and accuracy of (n, 7) probabilities on the CPU."""
    labels = torch.tensor([prepared.samples[number].label for number in numbers])
    loss = F.nll_loss(means.clamp_min(1e-12).log(), labels)
    accuracy = (means.argmax(dim=1) == labels).float().mean()
    return Measured(float(loss), float(accuracy), right, count)


@contextmanager
def evaluating(model: Pini2017) -> Iterator[None]:
    """Eval mode without gradients; the mode is put back after."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(numbers), _CLIPS_PER_PASS):
        yield numbers[first : first + _CLIPS_PER_PASS]
