"""What a fold leaves behind beside its bundle: its predictions of the held-out samples, and how good they are."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emolabel import schema
from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS, N_EMOTIONS
from emolabel.metrics import accuracy, confusion_matrix, unweighted_average_recall
from emolabel.models.base import EmotionModel
from emolabel.pipeline.predict import scored
from training.folds import Split
from training.measure import Measured
from training.prepared import PreparedSet

PREDICTIONS = "predictions.parquet"
SINGLE = "single.parquet"
_RESULT = "result.json"
_TRUTH = ("label", "subject", "split", "dataset")
_CLIPS_PER_PASS = 32


@dataclass(frozen=True)
class FoldResult:
    """How a fold did on the samples that it did not see."""

    fold: int | None
    n_learnt: int
    """Samples of the primary set that it learnt from."""
    n_held_out: int
    accuracy: float | None
    """0-1, of the whole model; None where nothing was held out."""
    uar: float | None
    """Unweighted average recall, 0-1."""
    seconds: float
    """Of training."""


def write_results(
    folder: Path,
    model: EmotionModel,
    prepared: PreparedSet,
    split: Split,
    fold: int | None,
    single: Mapping[str, Measured],
    seconds: float,
    name: str,
) -> FoldResult:
    """Predict the held-out samples; writes `predictions.parquet` (the columns of labels, and the truth),
    `single.parquet` (frames, slices and pieces that are right by themselves) and `result.json`.

    Args:
        name: of the model, as rows are to say.
    """
    rows = _predicted(model, prepared, split.held_out)
    rows = rows.set_column(rows.schema.get_field_index("model"), "model", pa.array([name] * len(rows), pa.string()))
    if fold is not None:
        rows = rows.append_column("fold", pa.array([fold] * len(rows), pa.int32()))
    scores = _accuracy_and_uar(rows)
    result = FoldResult(fold, len(split.learnt), len(split.held_out), *scores, seconds)
    counts = {
        "modality": list(single),
        "n": [measured.single_all for measured in single.values()],
        "correct": [measured.single_right for measured in single.values()],
    }
    for file, table in ((PREDICTIONS, rows), (SINGLE, pa.table(counts))):
        write_table(table, folder / file)
    (folder / _RESULT).write_text(json.dumps(asdict(result), indent=2))
    return result


def write_table(table: pa.Table, path: Path) -> None:
    """A Parquet file, which appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    pq.write_table(table, draft, compression="zstd")
    draft.replace(path)


def read_result(folder: Path) -> FoldResult:
    """The result of a finished fold.

    Raises:
        TrainingError: it is not there.
    """
    try:
        return FoldResult(**json.loads((folder / _RESULT).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"cannot read the result of the fold in {folder}: {error}") from error


def _predicted(model: EmotionModel, prepared: PreparedSet, numbers: tuple[int, ...]) -> pa.Table:
    every = pa.concat_tables(_rows(prepared))
    places = {video_id: place for place, video_id in enumerate(every["video_id"].to_pylist())}
    chosen = every.take(pa.array([places[prepared.samples[number].sample_id] for number in numbers], pa.int64()))
    predictions = []
    for first in range(0, len(numbers), _CLIPS_PER_PASS):
        part = numbers[first : first + _CLIPS_PER_PASS]
        predictions += model.predict([prepared.clip(number, model.input_spec) for number in part])
    rows = scored(chosen.select(schema.LABELS.names), predictions)
    for name in _TRUTH:
        if name in chosen.column_names:
            rows = rows.append_column(name, chosen[name])
    return rows


def _rows(prepared: PreparedSet) -> list[pa.Table]:
    columns = [*schema.LABELS.names, *_TRUTH]
    files = sorted((prepared.folder / "labels").glob("*.parquet"))
    return [
        pq.read_table(file, columns=[name for name in columns if name in pq.read_schema(file).names]) for file in files
    ]


def _accuracy_and_uar(rows: pa.Table) -> tuple[float | None, float | None]:
    sure = rows.filter(pc.is_valid(rows["dominant_emotion"]))
    if not len(sure):
        return None, None
    truth, said = (
        np.array([EMOTIONS.index(label) for label in sure[column].to_pylist()])
        for column in ("label", "dominant_emotion")
    )
    confusion = confusion_matrix(truth, said, N_EMOTIONS)
    return accuracy(confusion), unweighted_average_recall(confusion)
