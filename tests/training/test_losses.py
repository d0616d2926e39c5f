"""The weighted loss against the values of the specification."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import class_weights, weighted_cross_entropy

AFEW_TRAIN = [133, 74, 81, 150, 117, 74, 144]  # angry, disgust, fear, happy, sad, surprise, neutral


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        (0, [1.0] * 7),
        (1, [1.0762, 0.7262, 0.7609, 1.2054, 0.9673, 0.7262, 1.1581]),
        (2, [1.1198, 0.5099, 0.5598, 1.4047, 0.9047, 0.5099, 1.2967]),
        (4, [1.1212, 0.2325, 0.2802, 1.7643, 0.7318, 0.2325, 1.5035]),
    ],
)
def test_weights_of_afew(a: float, expected: list[float]) -> None:
    assert class_weights(AFEW_TRAIN, a).tolist() == pytest.approx(expected, abs=5e-5)


@given(counts=st.lists(st.integers(0, 10_000), min_size=1, max_size=9).filter(any), a=st.floats(0, 8))
def test_the_mean_weight_over_clips_is_one(counts: list[int], a: float) -> None:
    n = torch.tensor(counts, dtype=torch.float64)
    assert float((n / n.sum() * class_weights(counts, a)).sum()) == pytest.approx(1)


def test_two_samples_by_hand() -> None:
    """(Happy, Disgust) with zero logits: (1.2054 + 0.7262) / 2 * ln 7."""
    loss = weighted_cross_entropy(torch.zeros(2, 7), torch.tensor([3, 1]), class_weights(AFEW_TRAIN))
    assert float(loss) == pytest.approx(1.87936, abs=1e-5)  # from weights of four digits


def test_no_clips_have_no_weights() -> None:
    with pytest.raises(ValueError, match="expected counts of clips"):
        class_weights([0, 0])
