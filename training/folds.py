"""Which samples a network learns from, and which it is measured on. No subject is ever in both."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from emolabel.errors import TrainingError
from training.prepared import Sample
from training.settings import FoldSettings


@dataclass(frozen=True)
class Split:
    """Numbers of samples of the primary data set."""

    learnt: tuple[int, ...]
    held_out: tuple[int, ...]


def split_samples(samples: Sequence[Sample], settings: FoldSettings, fold: int | None, seed: int) -> Split:
    """The split of one fold; None: of a single network that is not cross-validated.

    Without folds, `validation` holds out the whole validation split, and `all` nothing. A sample of unknown subject
    counts as a subject of its own. Classes are spread evenly over the folds as far as the subjects allow.

    Raises:
        TrainingError: there is no such fold, or too few subjects.
    """
    cut = [n for n, sample in enumerate(samples) if settings.of == "all" or sample.split == "validation"]
    learnt = [] if settings.of == "all" else [n for n, sample in enumerate(samples) if sample.split != "validation"]
    if fold is None:
        return Split(tuple(cut), ()) if settings.of == "all" else Split(tuple(learnt), tuple(cut))
    if not 0 <= fold < settings.count:
        raise TrainingError(f"folds are numbered from 0 to {settings.count - 1}, got {fold}")
    if not cut:
        raise TrainingError("the folds are cut from the validation split, and no sample of the primary set is in it")
    subjects = [samples[n].subject or f"sample {samples[n].sample_id}" for n in cut]
    if len(set(subjects)) < settings.count:
        raise TrainingError(f"{settings.count} folds need as many subjects, the data has {len(set(subjects))}")
    cutter = StratifiedGroupKFold(settings.count, shuffle=True, random_state=seed)
    labels = [samples[n].label for n in cut]
    if max(np.bincount(labels)) < settings.count:
        raise TrainingError(f"no class has {settings.count} samples to be spread over as many folds")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a rare class that not every fold can have
        parts = [part for _, part in cutter.split(np.zeros(len(cut)), labels, subjects)]
    held_out = {cut[place] for place in parts[fold]}
    return Split(tuple(learnt + [n for n in cut if n not in held_out]), tuple(sorted(held_out)))
