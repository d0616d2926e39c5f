"""The losses of Pini et al. (ICMI 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from training.settings import StageSettings


def class_weights(counts: Sequence[int], a: float = 1.0) -> Tensor:
    """Weights that raise the frequent classes: exp(a * n_c / n_max) / Z, with Z such that their mean over clips is 1.

    The paper says which way they go; this form is our reading of it.

    Args:
        counts: clips of each class in the training data, at least one in all.
        a: how strongly; 0 gives plain cross-entropy.

    Returns:
        (classes,) float64.

    >>> class_weights([133, 74, 81, 150, 117, 74, 144]).round(decimals=4).tolist()
    [1.0762, 0.7262, 0.7609, 1.2054, 0.9673, 0.7262, 1.1581]
    """
    n = torch.as_tensor(counts, dtype=torch.float64)
    if n.ndim != 1 or bool((n < 0).any()) or float(n.sum()) <= 0:
        raise ValueError(f"expected counts of clips, at least one of them positive, got {list(counts)}")
    raised = torch.exp(a * n / n.max())
    return raised / (n / n.sum() * raised).sum()


def loss_weights(counts: Sequence[int], settings: StageSettings) -> Tensor:
    """(classes,) what the settings ask for: `class_weights`, or ones."""
    if settings.loss == "plain":
        return torch.ones(len(counts))
    return class_weights(counts, settings.weight_strength)


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """L' = -(1/N) sum_i w[y_i] log p_i (paper, section 3.5): divided by N, not by the sum of weights as torch does.

    Args:
        logits: (N, classes).
        targets: (N,) class numbers, or (N, classes) shares of each class, which sum to 1.
        weights: (classes,), from `class_weights`; ones give the plain cross-entropy.
    """
    losses = functional.cross_entropy(logits, targets, weight=weights.to(logits), reduction="none")
    return losses.mean()
