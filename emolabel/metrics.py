"""How good predictions are: agreement with the truth, and calibration. Pure numpy.

What comes from counts takes a confusion matrix; what comes from probabilities takes them with the true classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emolabel.types import Float64Array, Int64Array

Classes = npt.NDArray[np.integer[Any]]
"""(n,) class numbers, 0 to C - 1."""
Real = npt.NDArray[np.floating[Any]]

SMALLEST_PROBABILITY = 1e-7
"""What a lesser probability counts as in a logarithm."""


def confusion_matrix(truth: Classes, predicted: Classes, n_classes: int) -> Int64Array:
    """Clips of each true class (row) that were given each class (column).

    Args:
        truth: (n,) class numbers.
        predicted: (n,) class numbers.
        n_classes: C.

    Returns:
        (C, C) counts.

    Raises:
        ValueError: the two differ in length, or hold something else than class numbers.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    for classes in (truth, predicted):
        if classes.shape != (len(truth),):
            raise ValueError(f"expected two vectors of one length, got {truth.shape} and {predicted.shape}")
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
            raise ValueError(f"expected classes 0 to {n_classes - 1}, got {int(classes.min())} to {int(classes.max())}")
    cells = truth.astype(np.int64) * n_classes + predicted
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


def accuracy(confusion: Int64Array) -> float:
    """The share of clips that were given their class, 0-1; NaN without clips.

    Args:
        confusion: (C, C), from `confusion_matrix`.

    >>> accuracy(np.array([[1, 1], [0, 2]]))
    0.75
    """
    return float(_ratio(confusion.trace(), confusion.sum()))


def unweighted_average_recall(confusion: Int64Array) -> float:
    """The mean of the recalls of the classes that the truth holds (UAR, balanced accuracy), 0-1; NaN without clips.

    A guess that is blind to its input has 1 / (number of those classes), however unequal they are.

    Args:
        confusion: (C, C), from `confusion_matrix`.

    >>> unweighted_average_recall(np.array([[8, 0, 0], [1, 1, 0], [0, 0, 0]]))
    0.75
    """
    recall = class_scores(confusion).recall
    present = recall[~np.isnan(recall)]
    return float(present.mean()) if len(present) else float("nan")


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Each class by itself, (C,) each. NaN where a score says nothing: the recall of a class without clips, say."""

    n_truth: Int64Array
    """Clips of the class."""
    n_predicted: Int64Array
    """Clips that were given it."""
    precision: Float64Array
    recall: Float64Array
    f1: Float64Array


def class_scores(confusion: Int64Array) -> ClassScores:
    """Precision, recall and F1 of each class.

    Args:
        confusion: (C, C), from `confusion_matrix`.
    """
    hits, n_truth, n_predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassScores(
        n_truth=n_truth,
        n_predicted=n_predicted,
        precision=_ratio(hits, n_predicted),
        recall=_ratio(hits, n_truth),
        f1=_ratio(2 * hits, n_truth + n_predicted),
    )


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Clips binned by the probability of the class they were given: M bins, each open below and closed above."""

    edges: Float64Array
    """(M + 1,) from 0 to 1."""
    n: Int64Array
    """(M,) clips."""
    confidence: Float64Array
    """(M,) mean probability of the class that was given; NaN for an empty bin."""
    accuracy: Float64Array
    """(M,) share of clips that were given their class; NaN for an empty bin."""

    @property
    def expected_calibration_error(self) -> float:
        """ECE = sum over bins of n_m / n * |accuracy_m - confidence_m|, 0-1 (Guo et al., ICML 2017, equation 3).

        Few clips make it too high: noise in a bin counts as an error, whichever way it goes.
        """
        full = self.n > 0
        gaps = np.abs(self.accuracy[full] - self.confidence[full])
        return float((self.n[full] * gaps).sum() / self.n.sum())


def reliability_bins(probabilities: Real, truth: Classes, n_bins: int = 15) -> ReliabilityBins:
    """Bin clips by their top probability in equal widths, as Guo et al., "On Calibration of Modern Neural Networks"
    (ICML 2017, https://arxiv.org/abs/1706.04599) do; 15 bins is theirs.

    Args:
        probabilities: (n, C), n > 0, rows of sum 1.
        truth: (n,) class numbers.
        n_bins: M.

    Raises:
        ValueError: what was given are no probabilities, or no such truth.
    """
    _check(probabilities, truth)
    confidence = probabilities.max(axis=1).astype(np.float64).clip(0.0, 1.0)
    hit = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    place = np.searchsorted(edges, confidence, side="left") - 1
    n = np.bincount(place, minlength=n_bins).astype(np.int64)
    return ReliabilityBins(
        edges=edges,
        n=n,
        confidence=_ratio(np.bincount(place, confidence, minlength=n_bins), n),
        accuracy=_ratio(np.bincount(place, hit, minlength=n_bins), n),
    )


def brier_score(probabilities: Real, truth: Classes) -> float:
    """Mean over clips of the squared distance between the probabilities and the truth, 0 (best) to 2 (Brier 1950).

    Args:
        probabilities: (n, C), n > 0, rows of sum 1.
        truth: (n,) class numbers.

    Raises:
        ValueError: what was given are no probabilities, or no such truth.

    >>> round(brier_score(np.array([[0.8, 0.2]]), np.array([0])), 6)
    0.08
    """
    _check(probabilities, truth)
    certain = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - certain) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: Real, truth: Classes) -> float:
    """Mean over clips of -ln of the true class's probability, in nats; 0 is best, ln C is that of a uniform guess.

    Args:
        probabilities: (n, C), n > 0, rows of sum 1. Below `SMALLEST_PROBABILITY` they count as that.
        truth: (n,) class numbers.

    Raises:
        ValueError: what was given are no probabilities, or no such truth.
    """
    _check(probabilities, truth)
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(of_truth.clip(SMALLEST_PROBABILITY, 1.0)).mean())


def concordance(truth: Real, predicted: Real) -> float:
    """Lin's concordance correlation coefficient (Biometrics 45, 1989), the field's measure for valence and arousal.

    CCC = 2 cov / (var + var + (difference of means)^2), with moments over n; -1 to 1, and 1 only for equal values.

    Args:
        truth: (n,), n > 0.
        predicted: (n,).

    Returns:
        NaN where both are the same constant.

    Raises:
        ValueError: the two differ in length, or are empty.

    >>> round(concordance(np.array([0.0, 1.0]), np.array([0.5, 1.5])), 4)
    0.6667
    """
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise ValueError(f"expected two vectors of one length, got {truth.shape} and {predicted.shape}")
    x, y = truth.astype(np.float64), predicted.astype(np.float64)
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(_ratio(2 * covariance, x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def _check(probabilities: Real, truth: Classes) -> None:
    if probabilities.ndim != 2 or truth.shape != (len(probabilities),) or not len(truth):
        raise ValueError(f"expected (n, C) probabilities and (n,) classes, got {probabilities.shape}, {truth.shape}")
    sums = probabilities.sum(axis=1)
    # Written so that NaN fails too.
    if not (probabilities.min() >= 0 and bool((np.abs(sums - 1) < 1e-3).all())):
        raise ValueError(f"expected rows of sum 1 without negatives, got sums {sums.min():.4g} to {sums.max():.4g}")
    if not 0 <= int(truth.min()) <= int(truth.max()) < probabilities.shape[1]:
        raise ValueError(
            f"expected classes below {probabilities.shape[1]}, got {int(truth.min())} to {int(truth.max())}"
        )


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Float64Array:
    """The quotient; NaN for nothing of nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.true_divide(part, whole), dtype=np.float64)
