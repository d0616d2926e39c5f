"""Any other labelled files: a CSV with `uri` and `label`, under names of one's own."""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from training.datasets.files import read_table, some
from training.datasets.manifest import DataSet, Dropped, Sample, is_remote, sample_of

LABELS: Final[Mapping[str, str]] = {
    **{emotion: emotion for emotion in EMOTIONS},
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""Common names of the seven classes, in lower case. Anything else, contempt, calm and boredom too, has to be named."""

SPLIT_NAMES: Final[Mapping[str, str]] = {
    **{split: split for split in ("", "train", "validation", "test")},
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}


def read_any_manifest(
    table: Path, labels: Mapping[str, str] | None = None, drop: Collection[str] = (), name: str | None = None
) -> DataSet:
    """Read a CSV with the columns `uri` and `label`, and, where there are any, `subject`, `split`, `start_s`, `end_s`
    and `dataset`. Capitals in labels and splits do not matter; relative files start at the table's folder.

    Args:
        table: the CSV.
        labels: names of its labels -> one of the seven, besides `LABELS`.
        drop: names of its labels that are left out.
        name: of the set [default: that of the file]; for rows without `dataset`.

    Raises:
        TrainingError: a column, file, label or split that is missing or unknown; the message names it.
    """
    title = name or table.stem
    known = {**LABELS, **{theirs.lower(): ours for theirs, ours in (labels or {}).items()}}
    left_out = {label.lower() for label in drop}
    wrong = sorted(set(known.values()) - set(EMOTIONS))
    if wrong:
        raise TrainingError(f"labels can only be mapped to {', '.join(EMOTIONS)}, not to {some(wrong)}")
    samples, dropped, missing = [], [], []
    unknown: dict[str, int] = {}
    for line, row in read_table(table, ("uri", "label")):
        label = row["label"].strip().lower()
        split = SPLIT_NAMES.get(row.get("split", "").strip().lower(), row.get("split", ""))
        if label in left_out:
            dropped.append(Dropped(row["uri"], split, f"label: {row['label'].strip()}"))
            continue
        if label not in known:
            unknown.setdefault(row["label"].strip(), line)
            continue
        sample = _named(sample_of({**row, "label": known[label], "split": split}, table, line), title)
        if not is_remote(sample.uri) and not os.path.isfile(sample.uri):
            missing.append(sample.uri)
        samples.append(sample)
    if unknown:
        named = [f"{label!r} (line {line})" for label, line in unknown.items()]
        raise TrainingError(f"{table} has unknown labels: {some(named)}; map them with --label or --drop-label them")
    if missing:
        raise TrainingError(f"{table} lists {len(missing)} files that are not there: {some(missing)}")
    if not samples and not dropped:
        raise TrainingError(f"{table} has no rows")
    return DataSet(title, tuple(samples), tuple(dropped))


def _named(sample: Sample, dataset: str) -> Sample:
    return sample if sample.dataset else replace(sample, dataset=dataset)
