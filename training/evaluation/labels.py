"""The labels under evaluation: what `emolabel annotate` wrote, or the held-out predictions of a training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS, MODALITIES
from emolabel.pipeline.locations import Kind, Location, locate
from emolabel.pipeline.output import OutputFolder

FUSED: Final = "fused"
SCORES: Final = {FUSED: list(EMOTIONS)} | {m: [f"{m}_{emotion}" for emotion in EMOTIONS] for m in MODALITIES}
"""The columns of the fused scores and of each branch's."""

TRUTH_COLUMNS: Final = ("label", "fold", "dataset", "split", "subject")
"""Columns of a manifest that ride along to labels and that evaluation reads."""

PREDICTIONS_FILE: Final = "predictions.parquet"
SINGLE_FILE: Final = "single.parquet"
SINGLE_COLUMNS: Final = ("modality", "n", "correct")

KEYS: Final = ["video_id", "window_index", "face_id"]
_NEEDED = [*KEYS, "input", "start_s", "end_s", *EMOTIONS]
_IF_THERE = [
    *("status", "error", "model", "model_sha256"),
    *(name for m in MODALITIES for name in SCORES[m]),
    *TRUTH_COLUMNS,
]
_INPUT_COLUMNS = ["video_id", "input", "status", "error"]


@dataclass(frozen=True, eq=False)
class Labels:
    """All that was said of the clips."""

    rows: pd.DataFrame
    """A row per window and face, columns as in `schema.LABELS`; the columns of `TRUTH_COLUMNS` that ride along are
    strings, empty where the truth says nothing."""
    inputs: pd.DataFrame
    """A row per input: `video_id`, `input`, `status`, `error` and what rides along; empty for training's predictions,
    which have no such table."""
    single: pd.DataFrame
    """`modality`, `n`, `correct`: how many single frames, slices or seconds there were, and how many were right;
    empty where training left none."""

    @property
    def models(self) -> list[str]:
        """Who made the labels."""
        if not {"model", "model_sha256"} <= set(self.rows.columns):
            return []
        pairs = self.rows[["model", "model_sha256"]].drop_duplicates()
        return sorted(f"{model} (sha256 {str(sha256)[:12]})" for model, sha256 in pairs.itertuples(index=False))


def read_labels(arguments: Sequence[str]) -> Labels:
    """Read labels of one model, or of the folds of one training.

    Args:
        arguments: output folders of `emolabel annotate`, folders with training's `predictions.parquet` (and, for the
            scores of single frames, `single.parquet` beside it), or Parquet files of such rows. Paths or URIs.

    Raises:
        EmolabelError: one cannot be read or holds no scores, or the same window stands in two.
    """
    parts = [_read_one(argument) for argument in arguments]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    twice = rows[rows.duplicated(KEYS)]
    if len(twice):
        raise TrainingError(
            f"{len(twice)} windows were given twice, the first of {twice['input'].iloc[0]}: "
            "labels of several models are evaluated one by one"
        )
    riding = [name for name in TRUTH_COLUMNS if name in rows]
    rows[riding] = rows[riding].fillna("")  # a part may have columns that another has not
    return Labels(
        rows,
        pd.concat([part.inputs for part in parts], ignore_index=True),
        pd.concat([part.single for part in parts], ignore_index=True),
    )


def _read_one(argument: str) -> Labels:
    at = locate(argument)
    kind = _look(at)
    if kind is Kind.FILE:
        return _read_predictions(at)
    if kind is not Kind.FOLDER:
        raise TrainingError(f"no labels at {at.shown}: there is {kind.value}")
    predictions = at.at(f"{at.path.rstrip('/')}/{PREDICTIONS_FILE}")
    if _look(predictions) is Kind.FILE:
        return _read_predictions(predictions)
    folder = OutputFolder(argument)
    label_files, input_files = folder.parquet_files("labels"), folder.parquet_files("inputs")
    if not label_files:
        raise TrainingError(
            f"no labels in {at.shown}: expected labels/*.parquet, as `emolabel annotate` writes them, "
            f"or training's {PREDICTIONS_FILE}"
        )
    rows = [_read_table(at.at(path), _NEEDED, _IF_THERE) for path in label_files]
    inputs = [_read_table(at.at(path), _INPUT_COLUMNS, TRUTH_COLUMNS) for path in input_files]
    return Labels(_frame(rows), _frame(inputs) if inputs else _no_inputs(), _no_single())


def _read_predictions(at: Location) -> Labels:
    single = at.at(f"{at.path.rpartition('/')[0]}/{SINGLE_FILE}")
    beside = [_read_table(single, SINGLE_COLUMNS, ())] if _look(single) is Kind.FILE else []
    rows = _frame([_read_table(at, _NEEDED, _IF_THERE)])
    return Labels(rows, _no_inputs(), _frame(beside) if beside else _no_single())


def _no_inputs() -> pd.DataFrame:
    return _empty(_INPUT_COLUMNS)


def _no_single() -> pd.DataFrame:
    return _empty(SINGLE_COLUMNS)


def _empty(columns: Sequence[str]) -> pd.DataFrame:
    frame: pd.DataFrame = pd.DataFrame(index=pd.RangeIndex(0), columns=list(columns), dtype=object)
    return frame


def _look(at: Location) -> Kind:
    try:
        return at.look().kind
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"cannot read {at.shown}: {error}") from error


def _read_table(at: Location, needed: Sequence[str], if_there: Sequence[str]) -> pa.Table:
    try:
        with at.filesystem.open_input_file(at.path) as stream:
            file = pq.ParquetFile(stream)
            names = file.schema_arrow.names
            missing = [name for name in needed if name not in names]
            if missing:
                raise TrainingError(f"{at.shown} has no column {', '.join(missing)}; it has: {', '.join(names)}")
            # By name: a folder of prepared clips holds pictures too, and they are large.
            return file.read(columns=[*needed, *(name for name in if_there if name in names)])
    except (OSError, pa.ArrowException) as error:
        raise TrainingError(f"cannot read {at.shown}: {error}") from error


def _frame(tables: Sequence[pa.Table]) -> pd.DataFrame:
    table = pa.concat_tables(tables, promote_options="permissive")
    for name in TRUTH_COLUMNS:
        if name in table.column_names:
            place = table.column_names.index(name)
            # As text before pandas sees it: it would make 3.0 of a 3 that stands above a null.
            table = table.set_column(place, name, table[name].cast(pa.string()).fill_null(""))
    frame: pd.DataFrame = table.to_pandas()
    return frame
