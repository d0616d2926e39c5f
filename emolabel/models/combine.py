"""From the logits of frames, slices and pieces to one distribution per branch, and from several branches to one label.

Everything stays in logarithms: a probability that float32 rounds to 0 would lose the order of what is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from emolabel.labels import N_EMOTIONS

Pool = Literal["logits", "probabilities"]
Rule = Literal["mean", "log_mean"]


def check_temperature(value: float) -> None:
    """Raises ValueError beyond generous bounds, behind which float32 ends."""
    if not 1e-3 <= value <= 1e3:
        raise ValueError(f"a temperature must lie in 0.001-1000, got {value:g}")


@dataclass(frozen=True)
class BranchDecision:
    """How much a branch is believed, fitted on validation data."""

    temperature: float = 1.0
    """Its logits are divided by this; above 1 makes it less sure (Guo et al., ICML 2017,
    https://arxiv.org/abs/1706.04599)."""
    weight: float = 1.0
    """Its share in the mean, relative to the other branches. With 0 it is asked only where no other branch can be."""
    bias: tuple[float, ...] | None = None
    """Added per class after the division, in the order of the labels; None: nothing."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.weight <= 1e6:
            raise ValueError(f"a weight must lie in 0-1e+06, got {self.weight:g}")
        if self.bias is not None and len(self.bias) != N_EMOTIONS:
            raise ValueError(f"a bias has {N_EMOTIONS} values, one per class, got {len(self.bias)}")
        if self.bias is not None and not all(abs(value) <= 1e3 for value in self.bias):
            raise ValueError(f"a bias must lie in -1000-1000, got {self.bias}")


def clip_log_probabilities(logits: Tensor, present: Tensor, decision: BranchDecision, pool: Pool) -> Tensor:
    """What a branch says of each clip: (n, 7) logarithms of probabilities that sum to 1.

    Args:
        logits: (n, K, 7) of the clip's frames, slices or pieces.
        present: (n, K) which of them count, at least one per clip.
        pool: `logits`: softmax(mean over K of the logits / T + bias); `probabilities`: the mean over K of
            softmax(logits / T + bias).
    """
    scaled = logits / decision.temperature
    if decision.bias is not None:
        scaled = scaled + scaled.new_tensor(decision.bias)
    counts = present.sum(dim=1, keepdim=True)
    if pool == "logits":
        return ((scaled * present[..., None]).sum(dim=1) / counts).log_softmax(dim=1)
    counted = scaled.log_softmax(dim=2).masked_fill(~present[..., None], -torch.inf)
    return counted.logsumexp(dim=1) - counts.log()


def combine(
    branches: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    weights: Mapping[str, float],
    n_clips: int,
    rule: Rule,
    temperature: float = 1.0,
) -> Tensor:
    """The weighted mean over the branches that each clip has: (n_clips, 7) logarithms of probabilities.

    A clip whose branches all have the weight 0 gets their plain mean; one without any branch gets 1/7 for each class.

    Args:
        branches: per branch (n, 7) logarithms of probabilities, as `clip_log_probabilities` gives them.
        rows: per branch (n,) which clips these are.
        weights: per branch, not negative.
        rule: `mean` of the probabilities, or `log_mean`: their geometric mean, brought back to a sum of 1.
        temperature: divides the logarithms of what more than one branch has said. Branches that agree are right more
            often than each of them is, which no mean says: their fused probabilities want a temperature below 1.
    """
    if not branches:
        return torch.zeros(n_clips, N_EMOTIONS).log_softmax(dim=1)
    says = torch.stack([_spread(values, rows[name], n_clips) for name, values in branches.items()])  # (B, n_clips, 7)
    there = torch.stack(
        [_spread(torch.ones_like(values[:, 0]), rows[name], n_clips) for name, values in branches.items()]
    )
    shares = _shares(there, [weights[name] for name in branches])
    if rule == "mean":
        pooled = (says + shares.log()[..., None]).logsumexp(dim=0)
    else:
        pooled = (shares[..., None] * says).sum(dim=0)
    several = (shares > 0).sum(dim=0) > 1
    return torch.where(several[:, None], pooled / temperature, pooled).log_softmax(dim=1)


def _spread(values: Tensor, rows: Tensor, n_clips: int) -> Tensor:
    """(n, ...) values at their rows of (n_clips, ...) zeros."""
    return values.new_zeros(n_clips, *values.shape[1:]).index_copy(0, rows, values)


def _shares(there: Tensor, weights: Sequence[float]) -> Tensor:
    """(B, n_clips) which branches a clip has, to their shares, which sum to 1 per clip."""
    shares = there * there.new_tensor(weights)[:, None]
    for fallback in (there, torch.ones_like(there)):
        shares = torch.where(shares.sum(dim=0) > 0, shares, fallback)
    return shares / shares.sum(dim=0)
