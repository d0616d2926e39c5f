"""The truth: which emotion each clip, a file or a stretch of it, shows according to its data set."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from emolabel.pipeline.locations import locate, redact
from emolabel.pipeline.manifests import read_manifest
from training.evaluation.labels import TRUTH_COLUMNS, Labels

_SHOWN: Final = 3


@dataclass(frozen=True, eq=False)
class Truth:
    """Clips with their emotion."""

    clips: pd.DataFrame
    """A row per clip. `input` (URI or path), `label`, the columns of `TRUTH_COLUMNS` that there are (strings, empty:
    unknown), and either `video_id`, or `place` (see `place`), `start_s` and `end_s` (seconds, NaN: the file's end)."""
    key: str
    """What clips and label rows are matched by: `video_id` where the truth rides along with the labels, or `place`."""


def read_truth(argument: str) -> Truth:
    """Read a manifest: CSV, Parquet or JSON lines with `uri`, `label` and, if known, `subject`, `split`, `dataset`,
    `fold`, `start_s`, `end_s` (a stretch of the file, in seconds; empty: all of it).

    Args:
        argument: path or URI; relative URIs in it start at its folder.

    Raises:
        SourceError: it cannot be read.
        TrainingError: it has no labels, one of them is none of the seven, or a clip stands in it twice.
    """
    manifest = read_manifest(argument)
    extras = manifest.extras
    if "label" not in extras.column_names:
        raise TrainingError(f"the truth {argument} has no column 'label'; it has: {', '.join(extras.column_names)}")
    clips = pd.DataFrame({"input": [redact(uri) for uri in manifest.uris]})
    clips["place"] = [place(uri) for uri in clips["input"]]
    clips[["start_s", "end_s"]] = pd.DataFrame(manifest.stretches, columns=["start_s", "end_s"], dtype=float)
    for name in TRUTH_COLUMNS:
        if name in extras.column_names:
            clips[name] = extras[name].cast(pa.string()).fill_null("").to_pylist()
    if not len(clips):
        raise TrainingError(f"the truth {argument} has no rows")
    _check_labels(clips["label"], f"the truth {argument}")
    twice = clips[clips.duplicated(["place", "start_s", "end_s"])]
    if len(twice):
        raise TrainingError(f"the truth {argument} names a clip more than once: {_some(twice['input'])}")
    return Truth(clips, "place")


def truth_of_labels(labels: Labels) -> Truth:
    """The truth that rides along with the labels, from the manifest that was labelled or from training.

    Windows of one `video_id` are one clip.

    Raises:
        TrainingError: there is none, or a clip has two.
    """
    if "label" not in labels.rows:
        raise TrainingError("the labels have no column 'label': say where the truth is with --truth")
    riding = ["video_id", "input", *(name for name in TRUTH_COLUMNS if name in labels.rows)]
    # Inputs that failed as a whole have no rows among the labels.
    both = pd.concat([labels.rows[riding], labels.inputs.reindex(columns=riding)], ignore_index=True).fillna("")
    clips = both[both["label"] != ""].drop_duplicates()
    if not len(clips):
        raise TrainingError("the column 'label' of the labels is empty: say where the truth is with --truth")
    _check_labels(clips["label"], "the labels' own truth")
    twice = clips[clips.duplicated("video_id")]
    if len(twice):
        raise TrainingError(
            f"clips have more than one truth in the labels: {_some(twice['input'])}; give a manifest with --truth"
        )
    return Truth(clips.reset_index(drop=True), "video_id")


def place(uri: str) -> str:
    """One text for all ways to write where a file lies; in a URI credentials and options say nothing of that.

    >>> place("s3://key:secret@bucket/a b.mp4?region=eu-south-1")
    's3://bucket/a%20b.mp4'
    """
    if "://" in uri and not uri.startswith("file://"):
        scheme, _, rest = redact(uri).partition("?")[0].partition("://")
        return f"{scheme}://{quote(unquote(rest.removeprefix('***@')))}"
    return os.path.abspath(locate(uri).shown)


def _check_labels(labels: "pd.Series[str]", what: str) -> None:
    unknown = labels[~labels.isin(EMOTIONS)]
    if len(unknown):
        raise TrainingError(
            f"{what} has labels that are none of ours in {len(unknown)} rows: {_some(unknown.unique())}; "
            f"expected: {', '.join(EMOTIONS)}"
        )


def _some(names: Iterable[str]) -> str:
    texts = [f"'{name}'" for name in names]
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")
