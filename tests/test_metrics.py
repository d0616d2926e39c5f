"""Metrics against values by hand, scikit-learn, and what must always hold."""

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from emolabel.metrics import (
    accuracy,
    brier_score,
    class_scores,
    concordance,
    confusion_matrix,
    negative_log_likelihood,
    reliability_bins,
    unweighted_average_recall,
)

N_CLASSES = 7
Array = npt.NDArray[Any]


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Array, Array]:
    """Probabilities (n, 7) and true classes (n,)."""
    n = draw(st.integers(1, 40))
    weights = draw(hnp.arrays(np.float64, (n, N_CLASSES), elements=st.floats(0.01, 1)))
    truth = draw(hnp.arrays(np.int64, n, elements=st.integers(0, N_CLASSES - 1)))
    return weights / weights.sum(axis=1, keepdims=True), truth


def test_confusion_by_hand() -> None:
    truth, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1, 0])
    confusion = confusion_matrix(truth, predicted, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert accuracy(confusion) == pytest.approx(4 / 6)
    # The fourth class is in no truth, so it is in no mean.
    assert unweighted_average_recall(confusion) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_class_scores_by_hand() -> None:
    scores = class_scores(np.array([[3, 1, 0], [1, 1, 0], [0, 0, 0]]))
    assert scores.n_truth.tolist() == [4, 2, 0]
    assert scores.n_predicted.tolist() == [4, 2, 0]
    assert scores.recall[:2].tolist() == [0.75, 0.5]
    assert scores.precision[:2].tolist() == [0.75, 0.5]
    assert scores.f1[:2].tolist() == [0.75, 0.5]
    assert np.isnan([scores.recall[2], scores.precision[2], scores.f1[2]]).all()


def test_a_class_that_is_never_given_has_an_f1_of_zero() -> None:
    scores = class_scores(np.array([[2, 0], [1, 0]]))
    assert math.isnan(scores.precision[1])
    assert scores.f1[1] == 0


@settings(deadline=None)
@given(predictions())
def test_counts_agree_with_scikit_learn(drawn: tuple[Array, Array]) -> None:
    probabilities, truth = drawn
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, N_CLASSES)
    labels = list(range(N_CLASSES))
    assert confusion.tolist() == reference.confusion_matrix(truth, predicted, labels=labels).tolist()
    assert accuracy(confusion) == pytest.approx(reference.accuracy_score(truth, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are given and in no truth: just what the two must agree on
        uar = reference.balanced_accuracy_score(truth, predicted)
    assert unweighted_average_recall(confusion) == pytest.approx(uar)
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=np.nan
    )
    scores = class_scores(confusion)
    assert scores.n_truth.tolist() == support.tolist()
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    loss = reference.log_loss(truth, probabilities, labels=labels)
    assert negative_log_likelihood(probabilities, truth) == pytest.approx(loss)


def test_brier_agrees_with_scikit_learn_for_two_classes() -> None:
    positive, truth = np.array([0.9, 0.2, 0.4]), np.array([1, 0, 1])
    both = np.stack([1 - positive, positive], axis=1)
    # Theirs counts one of the two classes.
    assert brier_score(both, truth) == pytest.approx(2 * reference.brier_score_loss(truth, positive))


def test_calibration_error_by_hand() -> None:
    """Four clips in two bins of five: 0.7 and 0.9 are (0.6, 0.8] and (0.8, 1]."""
    probabilities = np.array([[0.7, 0.3], [0.7, 0.3], [0.1, 0.9], [0.9, 0.1]])
    bins = reliability_bins(probabilities, np.array([0, 1, 1, 0]), n_bins=5)
    assert bins.n.tolist() == [0, 0, 0, 2, 2]
    assert bins.accuracy[3:].tolist() == [0.5, 1.0]
    assert bins.confidence[3:] == pytest.approx([0.7, 0.9])
    assert np.isnan(bins.accuracy[:3]).all()
    assert bins.expected_calibration_error == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)


def test_bins_are_closed_above() -> None:
    """As in Guo et al.: ((m - 1) / M, m / M]."""
    bins = reliability_bins(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]), n_bins=2)
    assert bins.n.tolist() == [1, 1]


def test_a_coin_that_knows_it_is_one_is_calibrated() -> None:
    probabilities = np.full((10, 2), 0.5)
    truth = np.array([0, 1] * 5)
    assert reliability_bins(probabilities, truth).expected_calibration_error == pytest.approx(0)
    assert brier_score(probabilities, truth) == pytest.approx(0.5)
    assert negative_log_likelihood(probabilities, truth) == pytest.approx(math.log(2))


@settings(deadline=None)
@given(predictions(), st.integers(1, 30))
def test_calibration_error_lies_in_zero_to_one(drawn: tuple[Array, Array], n_bins: int) -> None:
    probabilities, truth = drawn
    bins = reliability_bins(probabilities, truth, n_bins)
    assert 0 <= bins.expected_calibration_error <= 1
    assert bins.n.sum() == len(truth)
    full = bins.n > 0
    assert (bins.confidence[full] > bins.edges[:-1][full] - 1e-12).all()
    assert (bins.confidence[full] <= bins.edges[1:][full] + 1e-12).all()
    # One bin: the gap between mean confidence and accuracy, and no more bins can make it less.
    whole = reliability_bins(probabilities, truth, 1).expected_calibration_error
    gap = abs(probabilities.max(axis=1).mean() - (probabilities.argmax(axis=1) == truth).mean())
    assert whole == pytest.approx(gap)
    assert bins.expected_calibration_error >= whole - 1e-9


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, N_CLASSES - 1)))
def test_perfect_predictions(truth: Array) -> None:
    probabilities = np.eye(N_CLASSES, dtype=np.float32)[truth]
    confusion = confusion_matrix(truth, truth, N_CLASSES)
    assert accuracy(confusion) == 1
    assert unweighted_average_recall(confusion) == 1
    assert reliability_bins(probabilities, truth).expected_calibration_error == 0
    assert brier_score(probabilities, truth) == 0
    assert negative_log_likelihood(probabilities, truth) == 0


@settings(deadline=None)
@given(predictions(), st.randoms(use_true_random=False))
def test_order_does_not_matter(drawn: tuple[Array, Array], random: Any) -> None:
    probabilities, truth = drawn
    order = list(range(len(truth)))
    random.shuffle(order)

    def all_of(p: Array, t: Array) -> list[float]:
        confusion = confusion_matrix(t, p.argmax(axis=1), N_CLASSES)
        return [
            accuracy(confusion),
            unweighted_average_recall(confusion),
            reliability_bins(p, t).expected_calibration_error,
            brier_score(p, t),
            negative_log_likelihood(p, t),
        ]

    assert all_of(probabilities[order], truth[order]) == pytest.approx(all_of(probabilities, truth))


def test_a_truth_that_was_ruled_out_costs_much_and_not_everything() -> None:
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(math.log(1e7))


def test_no_clips_have_no_accuracy() -> None:
    empty = np.array([], dtype=np.int64)
    assert math.isnan(accuracy(confusion_matrix(empty, empty, 3)))
    assert math.isnan(unweighted_average_recall(confusion_matrix(empty, empty, 3)))


def test_concordance_by_hand() -> None:
    """Variances 2/3 and 8/3, covariance 4/3, means 2 and 4: 2 * 4/3 / (10/3 + 4) = 4/11."""
    assert concordance(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(4 / 11)


def test_concordance_of_a_constant() -> None:
    assert concordance(np.array([1.0, 2, 3]), np.full(3, 2.0)) == 0
    assert math.isnan(concordance(np.full(3, 2.0), np.full(3, 2.0)))


@settings(deadline=None)
@given(hnp.arrays(np.float64, (2, 12), elements=st.floats(-1, 1)))
def test_concordance_is_never_further_from_zero_than_correlation(drawn: Array) -> None:
    x, y = drawn
    if min(x.std(), y.std()) < 1e-3:
        return
    ccc = concordance(x, y)
    assert ccc == pytest.approx(concordance(y, x))
    assert abs(ccc) <= abs(np.corrcoef(x, y)[0, 1]) + 1e-9
    assert concordance(x, x) == pytest.approx(1)
    assert concordance(x, -x + 2 * x.mean()) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        ([[0.5, 0.5]], [0, 1], r"expected \(n, C\)"),
        (np.zeros((0, 2)), [], r"expected \(n, C\)"),
        ([[0.5, 0.6]], [0], "expected rows of sum 1"),
        ([[1.5, -0.5]], [0], "without negatives"),
        ([[math.nan, 1.0]], [0], "expected rows of sum 1"),
        ([[0.5, 0.5]], [2], "expected classes below 2"),
        ([[0.5, 0.5]], [-1], "expected classes below 2"),
    ],
)
def test_what_is_no_prediction_is_refused(probabilities: Any, truth: Any, message: str) -> None:
    for score in (brier_score, negative_log_likelihood, reliability_bins):
        with pytest.raises(ValueError, match=message):
            score(np.array(probabilities, dtype=float), np.array(truth, dtype=int))


def test_what_are_no_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="two vectors of one length"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)
    with pytest.raises(ValueError, match="expected classes 0 to 1"):
        confusion_matrix(np.array([0]), np.array([2]), 2)
    with pytest.raises(ValueError, match="two vectors of one length"):
        concordance(np.zeros(2), np.zeros(3))
