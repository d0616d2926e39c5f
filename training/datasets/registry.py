"""The adapters by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from emolabel.errors import TrainingError
from training.datasets.afew import read_afew
from training.datasets.any_manifest import read_any_manifest
from training.datasets.cremad import read_cremad
from training.datasets.emodb import read_emodb
from training.datasets.enterface05 import read_enterface05
from training.datasets.fer2013 import read_fer2013
from training.datasets.manifest import DataSet
from training.datasets.ravdess import read_ravdess

ADAPTERS: Final[Mapping[str, Callable[..., DataSet]]] = {
    "afew": read_afew,
    "cremad": read_cremad,
    "emodb": read_emodb,
    "enterface05": read_enterface05,
    "fer2013": read_fer2013,
    "manifest": read_any_manifest,
    "ravdess": read_ravdess,
}

PUBLISHED: Final[Mapping[str, Mapping[str, int]]] = {
    "afew": {"train": 773, "validation": 383, "test": 653},
    "fer2013": {"train": 28_709, "validation": 3_589, "test": 3_589},
}
"""Sizes of splits as distributed (AFEW: that of EmotiW 2017), by which an incomplete copy is recognised."""


def read_dataset(name: str, root: Path, **options: Any) -> DataSet:
    """Read a data set with the adapter of this name.

    Args:
        name: a key of `ADAPTERS`.
        root: its folder or file.
        options: those of the adapter.

    Raises:
        TrainingError: no such adapter, or what the adapter raises.
    """
    if name not in ADAPTERS:
        raise TrainingError(f"no data set {name!r}; there are: {', '.join(ADAPTERS)}")
    return ADAPTERS[name](root, **options)
