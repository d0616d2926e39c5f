"""An evaluation from files to files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolabel.errors import TrainingError
from training.datasets.files import write_whole
from training.evaluation.labels import read_labels
from training.evaluation.matching import GROUPS, UNMATCHED_COLUMNS, Clips, match_clips
from training.evaluation.plots import confusion_png, reliability_png
from training.evaluation.scoring import Scores, score_clips
from training.evaluation.summary import Section, summarise, to_markdown
from training.evaluation.truth import read_truth, truth_of_labels


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found, and how it reads."""

    clips: Clips
    scores: Scores
    sections: list[Section]


def evaluate(
    labels: Sequence[str], truth: str | None, *, by: Sequence[str] | None = None, split: str | None = None
) -> Evaluation:
    """Compare labels with the truth.

    Args:
        labels: see `labels.read_labels`.
        truth: manifest, see `truth.read_truth`; None: what rides along with the labels.
        by: which of `matching.GROUPS` to break the figures down by; None: all that are known and differ between clips.
        split: take the clips of this split alone.

    Raises:
        EmolabelError: something cannot be read, or labels and truth have nothing to do with each other.
    """
    read = read_labels(labels)
    clips = match_clips(read, truth_of_labels(read) if truth is None else read_truth(truth), split)
    known = [column for column in GROUPS if column in clips.groups]
    unknown = [column for column in by or () if column not in known]
    if unknown:
        raise TrainingError(
            f"nothing says of which {' or '.join(unknown)} the clips are; "
            f"known: {', '.join(known) or 'none of ' + ', '.join(GROUPS)}"
        )
    columns = list(dict.fromkeys(by)) if by else [name for name in known if clips.groups[name].nunique() > 1]
    # Single frames were counted over training's own held-out clips: not over others, nor over a part of them.
    single = read.single if truth is None and split is None else read.single.iloc[:0]
    scores = score_clips(clips, single, columns)
    return Evaluation(clips, scores, summarise(clips, scores, read.models, columns))


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Write tables (Parquet), pictures (PNG) and `summary.md` into a folder; an earlier report there is replaced.

    Raises:
        TrainingError: the folder cannot be written.
    """
    scores = evaluation.scores
    # Types are set down for tables that may be empty.
    unmatched = {name: pa.float64() if name.endswith("_s") else pa.string() for name in UNMATCHED_COLUMNS}
    tables = {
        "metrics": _table(scores.values),
        "confusion": _table(scores.confusion_table()),
        "per_class": _table(scores.class_table()),
        "reliability": _table(scores.reliability_table()),
        "unmatched": _table(evaluation.clips.unmatched, pa.schema(list(unmatched.items()))),
    }
    for name, table in tables.items():
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_whole(out / f"{name}.parquet", buffer.getvalue().to_pybytes())
    write_whole(out / "confusion.png", confusion_png(scores))
    write_whole(out / "reliability.png", reliability_png(scores))
    write_whole(out / "summary.md", to_markdown(evaluation.sections).encode())


def _table(frame: pd.DataFrame, schema: pa.Schema | None = None) -> pa.Table:
    return pa.Table.from_pandas(frame, schema, preserve_index=False)
