"""Temperatures that make probabilities mean what they say (Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599)."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from emolabel.metrics import SMALLEST_PROBABILITY, Classes, Real, negative_log_likelihood
from emolabel.types import Float64Array

_WIDEST = math.log(20)


def at_temperature(probabilities: Real, temperature: float) -> Float64Array:
    """(n, C) probabilities as they are when their logits are divided by the temperature.

    >>> at_temperature(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY))
    scaled: Float64Array = softmax(logits / temperature, axis=1)
    return scaled


def fit_temperature(probabilities: Real, truth: Classes) -> float:
    """The temperature, within 1/20 to 20, under which the truth is most likely.

    Args:
        probabilities: (n, C), of samples that were not learnt from.
        truth: (n,) class numbers.
    """
    found = minimize_scalar(
        lambda log: negative_log_likelihood(at_temperature(probabilities, math.exp(log)), truth),
        bounds=(-_WIDEST, _WIDEST),
        method="bounded",
    )
    return math.exp(float(found.x))
