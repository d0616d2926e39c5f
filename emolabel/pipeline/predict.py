"""Stage predict: the model scores the rows of many windows at once."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa

from emolabel import schema
from emolabel.errors import CONTAINED, MediaError, contained
from emolabel.labels import EMOTIONS, MODALITIES
from emolabel.models.ahead import predict_batches
from emolabel.models.base import EmotionModel
from emolabel.pipeline.messages import WindowResult
from emolabel.types import Float32Array, Prediction


def predict_windows(results: Sequence[WindowResult], model: EmotionModel, batch_size: int) -> list[WindowResult]:
    """The same windows with scores, and without what the model saw and heard.

    Args:
        batch_size: clips that go through the model at a time.
    """
    started = time.monotonic()
    clips = [clip for result in results for clip in result.clips]
    try:
        batches = [clips[first : first + batch_size] for first in range(0, len(clips), batch_size)]
        predictions = iter(list(predict_batches(model, batches)))
    except CONTAINED as error:
        if len(results) == 1:
            return [_failed(results[0], contained(error))]
        return [one for result in results for one in predict_windows([result], model, batch_size)]
    seconds = (time.monotonic() - started) / max(len(results), 1)
    return [
        replace(
            result,
            labels=scored(result.labels, list(islice(predictions, len(result.clips)))),
            clips=(),
            seconds=result.seconds + seconds,
        )
        for result in results
    ]


def _failed(result: WindowResult, error: MediaError) -> WindowResult:
    rows = [row | {"status": str(error.status), "error": error.reason} for row in result.labels.to_pylist()]
    return replace(result, labels=pa.Table.from_pylist(rows, schema=schema.LABELS), clips=())


def scored(labels: pa.Table, predictions: Sequence[Prediction]) -> pa.Table:
    """Label rows with the scores of a prediction each, in the same order; as they are where there are none."""
    if not predictions:
        return labels
    rows = [row | _columns(prediction) for row, prediction in zip(labels.to_pylist(), predictions, strict=True)]
    return pa.Table.from_pylist(rows, schema=schema.LABELS)


def _columns(prediction: Prediction) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "valence": prediction.valence,
        "arousal": prediction.arousal,
        "agreement": prediction.agreement,
    }
    for modality in MODALITIES:
        columns |= _scores(getattr(prediction, modality), f"{modality}_")
    if prediction.probabilities is not None:
        columns |= _scores(prediction.probabilities)
        columns |= dominant(prediction.probabilities)
    return columns


def _scores(probabilities: Float32Array | None, prefix: str = "") -> dict[str, float]:
    if probabilities is None:
        return {}
    return {f"{prefix}{emotion}": float(p) for emotion, p in zip(EMOTIONS, probabilities, strict=True)}


def dominant(probabilities: Float32Array) -> dict[str, Any]:
    """The columns `dominant_emotion` and `emotion_score` of (7,) probabilities; the first of equals."""
    best = int(probabilities.argmax())
    return {"dominant_emotion": EMOTIONS[best], "emotion_score": float(probabilities[best])}
