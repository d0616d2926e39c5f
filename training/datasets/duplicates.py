"""Blank and repeated pictures of FER-2013, found from their pixels."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from emolabel.errors import TrainingError
from training.datasets.manifest import SPLITS

BLANK_STD: Final = 2.0
"""Pictures whose grey values (0-255) deviate less show nothing."""

BLANK: Final = "blank"
CONFLICT: Final = "the same pixels have another label elsewhere"
LEAK: Final = "the same pixels are in an earlier split"
REPEAT: Final = "the same pixels are already in its split"


@dataclass(frozen=True)
class Picture:
    """A labelled image file."""

    path: Path
    label: str
    split: str


@dataclass(frozen=True)
class Drops:
    """What to leave out."""

    blanks: bool = False
    conflicts: bool = False
    """Every copy, in all splits, of pixels that carry more than one label."""
    leaks: bool = False
    """Pictures of validation and test whose pixels are in an earlier split (train, validation, test)."""
    repeats: bool = False
    """All but the first (by path) of equal pictures in one split."""

    @property
    def any(self) -> bool:
        return self.blanks or self.conflicts or self.leaks or self.repeats


@dataclass(frozen=True)
class Look:
    """What a picture looks like."""

    digest: bytes
    """Of its size and grey values: equal for equal pixels."""
    std: float
    """Standard deviation of its grey values (0-255)."""


def look(path: Path) -> Look:
    """Decode a picture.

    Raises:
        TrainingError: it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrainingError(f"cannot read the picture {path}: {error}") from error
    return Look(hashlib.blake2b(repr(grey.shape).encode() + grey.tobytes(), digest_size=16).digest(), float(grey.std()))


def reasons_to_drop(pictures: Sequence[Picture], looks: Sequence[Look], drops: Drops) -> list[str | None]:
    """For each picture the reason why it goes, if it does. Where several hold, the first of `Drops`.

    Args:
        pictures: in the order in which the first of equal ones stays.
        looks: of each.
        drops: which reasons count.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, seen in enumerate(looks):
        groups[seen.digest].append(index)
    reasons: list[str | None] = [None] * len(pictures)
    for members in groups.values():
        labels = {pictures[index].label for index in members}
        splits = [pictures[index].split for index in members]
        first = min(splits, key=SPLITS.index)
        for position, index in enumerate(members):
            if drops.blanks and looks[index].std < BLANK_STD:
                reasons[index] = BLANK
            elif drops.conflicts and len(labels) > 1:
                reasons[index] = CONFLICT
            elif drops.leaks and splits[position] != first:
                reasons[index] = LEAK
            elif drops.repeats and splits[position] in splits[:position]:
                reasons[index] = REPEAT
    return reasons
