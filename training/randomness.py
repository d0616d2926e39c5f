"""Random numbers that depend on seed, stage and epoch alone: a run that goes on draws what it would have drawn."""

import zlib

import numpy as np
import torch

from emolabel.types import Int64Array


def balanced(labels: Int64Array, random: np.random.Generator) -> Int64Array:
    """As many places in (n,) class numbers as there are, all classes equally often; with repeats."""
    rarity = 1 / np.bincount(labels)[labels]
    places: Int64Array = random.choice(len(labels), len(labels), p=rarity / rarity.sum())
    return places


def streams(seed: int, stage: str, epoch: int) -> tuple[np.random.Generator, torch.Generator]:
    """Generators for one epoch. Torch's own, which dropout uses, is seeded as well."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(stage.encode()), epoch])
    ours, theirs, dropout = (int(value) for value in sequence.generate_state(3, np.uint32))
    torch.manual_seed(dropout)
    return np.random.default_rng(ours), torch.Generator().manual_seed(theirs)
