"""Temperatures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.calibration import at_temperature, fit_temperature


def test_the_temperature_that_frequencies_ask_for() -> None:
    """The first of two classes is said to have 0.9 and has 0.75: odds of 9 must become odds of 3, so T = 2."""
    said = np.tile([0.9, 0.1], (400, 1))
    truth = np.repeat([0, 1], [300, 100])
    assert fit_temperature(said, truth) == pytest.approx(2.0, abs=1e-3)
    np.testing.assert_allclose(at_temperature(said, 2.0)[0], [0.75, 0.25])


def test_who_is_never_wrong_is_believed_as_far_as_the_bounds_go() -> None:
    assert fit_temperature(np.tile([0.6, 0.4], (9, 1)), np.zeros(9, dtype=int)) == pytest.approx(1 / 20, rel=1e-3)


@given(temperature=st.floats(0.2, 5), seed=st.integers(0, 1000))
def test_order_stays_and_sums_are_1(temperature: float, seed: int) -> None:
    said = np.random.default_rng(seed).dirichlet(np.ones(7), 5)
    scaled = at_temperature(said, temperature)
    assert scaled.sum(axis=1) == pytest.approx(np.ones(5))
    assert (scaled.argmax(axis=1) == said.argmax(axis=1)).all()
    surer = scaled.max(axis=1) - said.max(axis=1)
    assert (surer * math.copysign(1, 1 - temperature) >= -1e-9).all()
