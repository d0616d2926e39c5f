"""One suite for every architecture: what any model must do, whatever it is."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emolabel.labels import MODALITIES
from emolabel.models.base import EmotionModel
from emolabel.models.blocks.normalise import WHITEN
from emolabel.models.bundle import load_bundle, save_bundle
from emolabel.models.combine import BranchDecision
from emolabel.models.ensemble import EnsembleConfig
from emolabel.models.layout import make_quick
from emolabel.models.pini2017 import (
    SUBMISSION_1,
    AudioConfig,
    DecisionConfig,
    FaceConfig,
    MotionConfig,
    Pini2017Config,
)
from emolabel.models.registry import ARCHITECTURES, build_model
from emolabel.models.strict import to_plain
from emolabel.sampling import AudioSampling, FrameSampling, SliceSampling
from emolabel.types import ClipInputs, Float32Array, Prediction

MakeClip = Callable[..., ClipInputs]


@dataclass(frozen=True)
class Case:
    architecture: str
    config: Any


def _tiny_face(backbone: str, **more: Any) -> FaceConfig:
    return FaceConfig(backbone=backbone, sampling=FrameSampling(count=3, crop_px=96), **more)


DECIDED_BY = DecisionConfig(
    face=BranchDecision(temperature=1.5, weight=2, bias=(0.5, 0, 0, -0.5, 0, 0, 0.1)),
    audio=BranchDecision(temperature=0.7),
)
DECIDED = Pini2017Config(
    face=_tiny_face("timm:test_efficientnet"),
    motion=None,
    audio=AudioConfig(sampling=AudioSampling(16_000, 1.0), gain=1.0, trunk="log_mel", piece_s=0.4),
    fusion=None,
    decision=DECIDED_BY,
)
CASES = {
    "submission-1": Case("pini2017", replace(SUBMISSION_1, face=FaceConfig(sampling=FrameSampling(count=2)))),
    "full": Case(
        "pini2017",
        Pini2017Config(face=_tiny_face("timm:test_efficientnet"), motion=MotionConfig(sampling=SliceSampling(count=2))),
    ),
    "face-only": Case(
        "pini2017", Pini2017Config(face=_tiny_face("timm:test_vit", normalisation=WHITEN), motion=None, audio=None)
    ),
    "audio-only": Case("pini2017", Pini2017Config(face=None, motion=None, audio=AudioConfig(padding="original"))),
    "audio-pieces": Case(
        "pini2017",
        Pini2017Config(
            face=None,
            motion=None,
            audio=AudioConfig(sampling=AudioSampling(16_000, 1.5), gain=1.0, trunk="log_mel", piece_s=0.6),
        ),
    ),
    "decision": Case("pini2017", DECIDED),
    "decision-log-mean": Case(
        "pini2017", replace(DECIDED, decision=replace(DECIDED_BY, rule="log_mean", pool="probabilities"))
    ),
    "ensemble": Case("ensemble", EnsembleConfig("pini2017", to_plain(DECIDED), size=2)),
}


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> EmotionModel:
    case = CASES[request.param]
    model = build_model(case.architecture, to_plain(case.config))
    model.reset_parameters(3)
    model.eval()
    return model


def scores_of(prediction: Prediction) -> Float32Array:
    assert prediction.probabilities is not None
    return prediction.probabilities


def same(a: Prediction, b: Prediction, tolerance: float) -> None:
    for name in ("probabilities", "face", "motion", "audio"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_allclose(left, right, atol=tolerance, rtol=0, err_msg=name)


def test_in_bfloat16_it_says_nearly_the_same_whatever_it_is_with(model: EmotionModel, make_clip: MakeClip) -> None:
    rounded = copy.deepcopy(model)
    make_quick(rounded, "bfloat16")
    clips = [make_clip(model.input_spec, seed) for seed in range(3)]
    for before, after, alone in zip(
        model.predict(clips), rounded.predict(clips), map(rounded.predict, ([clip] for clip in clips)), strict=True
    ):
        same(before, after, 0.02)
        same(after, alone[0], 0.005)


def test_every_architecture_has_a_case() -> None:
    assert {case.architecture for case in CASES.values()} == set(ARCHITECTURES)


def test_probabilities_are_probabilities(model: EmotionModel, make_clip: MakeClip) -> None:
    predictions = model.predict([make_clip(model.input_spec, seed) for seed in (0, 1)])
    assert len(predictions) == 2
    for prediction in predictions:
        assert prediction.probabilities is not None
        for scores in (prediction.probabilities, prediction.face, prediction.motion, prediction.audio):
            if scores is not None:
                assert scores.dtype == np.float32
                assert np.all(np.isfinite(scores))
                assert np.all(scores >= 0)
                assert scores.sum() == pytest.approx(1, abs=1e-6)
    first, second = map(scores_of, predictions)
    assert np.abs(first - second).max() > 1e-4, "the input does not matter"
    assert first.max() < 0.999, "random weights are saturated"


def test_scores_per_modality_are_those_of_its_branches(model: EmotionModel, make_clip: MakeClip) -> None:
    spec = model.input_spec
    (prediction,) = model.predict([make_clip(spec)])
    assert (prediction.face is not None) == (spec.face is not None)
    assert (prediction.motion is not None) == (spec.motion is not None)
    assert (prediction.audio is not None) == (spec.audio is not None)


def test_the_same_clip_twice_gives_the_same_bits(model: EmotionModel, make_clip: MakeClip) -> None:
    clip = make_clip(model.input_spec)
    same(model.predict([clip])[0], model.predict([clip])[0], 0)


def test_a_clip_does_not_care_about_its_batch(model: EmotionModel, make_clip: MakeClip) -> None:
    clips = [make_clip(model.input_spec, seed, n_crops=1, motion=seed < 3) for seed in range(16)]
    together = model.predict(clips)
    for i in (0, 2, 9, 15):
        same(together[i], model.predict([clips[i]])[0], 2e-6)


def test_nothing_to_see_or_hear_gives_no_scores(model: EmotionModel, make_clip: MakeClip) -> None:
    empty, clip = ClipInputs(), make_clip(model.input_spec)
    nothing, something, soundless = model.predict([empty, clip, ClipInputs(audio=np.zeros(0, np.float32))])
    for prediction in (nothing, soundless):
        assert prediction.probabilities is prediction.face is prediction.motion is prediction.audio is None
    same(something, model.predict([clip])[0], 2e-6)
    assert model.predict([empty])[0].probabilities is None
    assert model.predict([]) == []


def test_a_missing_modality_is_left_out_and_changes_the_label(model: EmotionModel, make_clip: MakeClip) -> None:
    spec = model.input_spec
    present = [modality for modality in MODALITIES if getattr(spec, modality) is not None]
    (whole,) = model.predict([make_clip(spec)])
    for modality in present:
        (part,) = model.predict([make_clip(spec, **{modality: False})])
        assert getattr(part, modality) is None
        if len(present) == 1:
            assert part.probabilities is None
        else:
            assert np.abs(scores_of(part) - scores_of(whole)).max() > 1e-5
        for other in set(present) - {modality}:
            np.testing.assert_allclose(getattr(part, other), getattr(whole, other), atol=1e-6)


def test_parts_cover_every_parameter_once(model: EmotionModel) -> None:
    inside = [id(parameter) for part in model.parts().values() for parameter in part.parameters()]
    assert len(inside) == len(set(inside))
    assert set(inside) == {id(parameter) for parameter in model.parameters()}


def test_every_trainable_parameter_gets_a_gradient_and_no_frozen_one_does(
    model: EmotionModel, make_clip: MakeClip
) -> None:
    model.train()
    try:
        clips = [make_clip(model.input_spec, seed, n_crops=1) for seed in (0, 1, 2)]
        truth = torch.tensor([0, 3, 6])
        outputs = model(model.collate(clips))
        loss = torch.zeros(())
        for logits in outputs if isinstance(outputs, list) else [outputs]:
            loss = loss + nn.functional.cross_entropy(logits.fused, truth)
            for scores in logits.branches.values():
                loss = loss + nn.functional.cross_entropy(scores.mean(dim=1), truth)
        torch.autograd.backward(loss)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.abs().max() > 0, name
            else:
                assert ".trunk." in name
                assert parameter.grad is None, name
        assert any(parameter.requires_grad for parameter in model.parameters())
    finally:
        model.zero_grad(set_to_none=True)
        model.reset_parameters(3)
        model.eval()


def test_training_mode_does_not_predict(model: EmotionModel, make_clip: MakeClip) -> None:
    model.train()
    with pytest.raises(RuntimeError, match="eval mode"):
        model.predict([make_clip(model.input_spec)])
    model.eval()


def test_agreement_is_that_of_an_ensemble(model: EmotionModel, make_clip: MakeClip) -> None:
    (prediction,) = model.predict([make_clip(model.input_spec)])
    assert (prediction.agreement is not None) == (model.architecture == "ensemble")


def test_a_bundle_brings_back_every_bit(model: EmotionModel, make_clip: MakeClip, tmp_path: Any) -> None:
    saved = save_bundle(model, tmp_path / "bundle", name="test", trained=dict.fromkeys(model.parts(), True))
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.sha256 == saved.sha256
    assert loaded.model.config == model.config
    assert not loaded.model.training
    state = loaded.model.state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(state[key], value), key
    clip = make_clip(model.input_spec, n_crops=1)
    same(loaded.model.predict([clip])[0], model.predict([clip])[0], 0)


def test_reset_parameters_is_deterministic(model: EmotionModel) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.reset_parameters(4)
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.reset_parameters(3)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
