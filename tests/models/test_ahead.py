"""Batches one after the other, and the next one prepared meanwhile, as for GPUs."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from emolabel.models.ahead import predict_batches
from emolabel.models.base import EmotionModel
from emolabel.models.bundle import load_bundle
from emolabel.types import ClipInputs, Prediction
from tests.models.conftest import MakeClip


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    return load_bundle("emolabel-1").model


@pytest.mark.parametrize("sizes", [[], [3], [2, 2, 1], [1, 0, 2]])
def test_ahead_or_not_the_clips_get_the_same_in_their_order(
    model: EmotionModel, make_clip: MakeClip, sizes: list[int]
) -> None:
    clips = iter([make_clip(model.input_spec, seed) for seed in range(sum(sizes))])
    batches = [[next(clips) for _ in range(size)] for size in sizes]
    one_by_one = [model.predict([clip])[0].probabilities for batch in batches for clip in batch]
    for ahead in (False, True):
        got = [prediction.probabilities for prediction in predict_batches(model, batches, ahead)]
        assert len(got) == sum(sizes)
        for ours, theirs in zip(got, one_by_one, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_next_batch_is_prepared_while_one_is_computed(
    model: EmotionModel, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[int] = []
    second = threading.Event()
    collate, compute = model.collate, model.predict_batch

    def slow(batch: Any) -> list[Prediction]:
        assert second.wait(60), "the second batch is prepared only after the first"
        return compute(batch)

    def noted(clips: Sequence[ClipInputs]) -> Any:
        prepared.append(len(clips))
        if len(prepared) == 2:
            second.set()
        return collate(clips)

    monkeypatch.setattr(model, "collate", noted)
    monkeypatch.setattr(model, "predict_batch", slow)
    clips = [make_clip(model.input_spec, seed) for seed in range(3)]
    predictions = predict_batches(model, [clips[:1], clips[1:], clips[:1]], ahead=True)
    next(predictions)
    assert prepared[:2] == [1, 2]
    assert len(prepared) == 2, "more than one batch waits"
    assert len(list(predictions)) == 3


def test_a_clip_that_does_not_fit_is_an_error_of_its_own_batch(model: EmotionModel, make_clip: MakeClip) -> None:
    good = make_clip(model.input_spec, 1)
    bad = ClipInputs(face=None, motion=None, audio=np.full(100, np.nan, np.float32))
    predictions = predict_batches(model, [[good], [bad], [good]], ahead=True)
    assert next(predictions).probabilities is not None
    with pytest.raises(ValueError, match="finite"):
        next(predictions)
