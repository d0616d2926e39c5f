"""The architectures that a bundle may name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from emolabel.models.base import EmotionModel
from emolabel.models.ensemble import Ensemble, EnsembleConfig
from emolabel.models.pini2017 import Pini2017, Pini2017Config
from emolabel.models.strict import from_plain


@dataclass(frozen=True)
class Architecture:
    """How a model is built."""

    config: type[Any]
    """A frozen dataclass that JSON can hold."""
    build: Callable[[Any], EmotionModel]


def build_model(architecture: str, config: object) -> EmotionModel:
    """Builds a model from its name and its config as plain JSON values. Its weights are whatever they happen to be.

    Raises:
        ValueError: an unknown architecture, or a config that does not fit it.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}; known are {', '.join(ARCHITECTURES)}")
    entry = ARCHITECTURES[architecture]
    return entry.build(from_plain(entry.config, config, "config"))


ARCHITECTURES: Final = {
    Pini2017.architecture: Architecture(Pini2017Config, Pini2017),
    Ensemble.architecture: Architecture(EnsembleConfig, lambda config: Ensemble.build(config, build_model)),
}
