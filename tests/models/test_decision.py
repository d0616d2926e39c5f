"""A network whose branches are combined at decision level: what it says, what it refuses, what travels with it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emolabel.errors import BundleError
from emolabel.models.bundle import load_bundle, save_bundle
from emolabel.models.combine import BranchDecision
from emolabel.models.pini2017 import (
    AudioConfig,
    DecisionConfig,
    FaceBranch,
    FaceConfig,
    FusionConfig,
    Pini2017,
    Pini2017Config,
)
from emolabel.sampling import AudioSampling, FrameSampling
from emolabel.types import ClipInputs, Prediction

MakeClip = Callable[..., ClipInputs]

BIAS = (0.3, 0.0, -0.2, 0.0, 0.1, 0.0, 0.0)
DECISION = DecisionConfig(
    face=BranchDecision(temperature=2, weight=3, bias=BIAS), audio=BranchDecision(temperature=0.5, weight=1)
)
CONFIG = Pini2017Config(
    face=FaceConfig(backbone="timm:test_efficientnet", sampling=FrameSampling(count=3, crop_px=96)),
    motion=None,
    audio=AudioConfig(sampling=AudioSampling(16_000, 1.0), gain=1.0, trunk="log_mel", piece_s=0.5),
    fusion=None,
    decision=DECISION,
)


def network(decision: DecisionConfig = DECISION) -> Pini2017:
    model = Pini2017(replace(CONFIG, decision=decision))
    model.reset_parameters(5)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Pini2017:
    return network()


def close(actual: object, expected: object) -> None:
    np.testing.assert_allclose(actual, expected, atol=2e-6, rtol=0)  # type: ignore[arg-type]


def test_there_is_no_fusion_part(model: Pini2017) -> None:
    assert model.fusion is None
    assert set(model.parts()) == {f"{b}.{p}" for b in ("face", "audio") for p in ("trunk", "head", "classifier")}
    assert not [key for key in model.state_dict() if not key.startswith("branches.")]


def test_the_label_is_the_weighted_mean_of_the_columns_of_the_branches(model: Pini2017, make_clip: MakeClip) -> None:
    (prediction,) = model.predict([make_clip(model.input_spec, n_crops=3)])
    assert prediction.face is not None
    assert prediction.audio is not None
    close(prediction.probabilities, 0.75 * prediction.face + 0.25 * prediction.audio)
    (geometric,) = network(replace(DECISION, rule="log_mean")).predict([make_clip(model.input_spec, n_crops=3)])
    close(geometric.face, prediction.face)
    product = prediction.face**0.75 * prediction.audio**0.25
    close(geometric.probabilities, product / product.sum())


@pytest.mark.parametrize("pool", ["logits", "probabilities"])
def test_columns_of_a_branch_are_its_calibrated_probabilities(pool: Any, make_clip: MakeClip) -> None:
    model = network(replace(DECISION, pool=pool))
    clip = make_clip(model.input_spec, n_crops=3)
    (prediction,) = model.predict([clip])
    assert clip.face is not None
    branch = model.branches["face"]
    assert isinstance(branch, FaceBranch)
    with torch.inference_mode():
        logits = branch(torch.from_numpy(clip.face.crops[clip.face.index]))
    scores = (logits.mean(dim=0, keepdim=True) if pool == "logits" else logits) / 2 + torch.tensor(BIAS)
    close(prediction.face, scores.softmax(dim=1).mean(dim=0))


@pytest.mark.parametrize("rule", ["mean", "log_mean"])
def test_a_clip_with_one_modality_gets_that_branchs_probabilities(rule: Any, make_clip: MakeClip) -> None:
    model = network(replace(DECISION, rule=rule))
    clips = [make_clip(model.input_spec, 1, audio=False), make_clip(model.input_spec, 2, face=False)]
    seen, heard = model.predict(clips)
    close(seen.probabilities, seen.face)
    close(heard.probabilities, heard.audio)


def test_a_hotter_branch_is_less_sure_and_keeps_its_order(model: Pini2017, make_clip: MakeClip) -> None:
    hot = replace(DECISION, audio=BranchDecision(temperature=50))
    clip = make_clip(model.input_spec)
    (sure,), (unsure,) = model.predict([clip]), network(hot).predict([clip])
    assert sure.audio is not None
    assert unsure.audio is not None
    assert unsure.audio.max() < sure.audio.max()
    np.testing.assert_array_equal(unsure.audio.argsort(), sure.audio.argsort())


def test_the_rule_travels_in_the_config_alone(model: Pini2017, make_clip: MakeClip, tmp_path: Path) -> None:
    save_bundle(model, tmp_path / "b", name="decided", trained=dict.fromkeys(model.parts(), True))
    loaded = load_bundle(tmp_path / "b")
    assert loaded.model.config == CONFIG
    clip = make_clip(model.input_spec)
    (before,), (after,) = model.predict([clip]), loaded.model.predict([clip])
    np.testing.assert_array_equal(before.probabilities, after.probabilities)  # type: ignore[arg-type]
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["config"]["decision"]["face"] == {"temperature": 2.0, "weight": 3.0, "bias": list(BIAS)}
    config["config"]["decision"]["face"]["weight"] = 0
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    (changed,) = load_bundle(tmp_path / "b").model.predict([clip])
    close(changed.probabilities, before.audio)


def test_a_bundle_that_speaks_of_no_decision_has_a_fusion_network(audio_model: Pini2017, tmp_path: Path) -> None:
    """Configs of before there was a choice."""
    save_bundle(audio_model, tmp_path / "b", name="old", trained=dict.fromkeys(audio_model.parts(), True))
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    for key in ("decision", "fusion"):
        del config["config"][key]
    for key in ("trunk", "piece_s"):
        del config["config"]["audio"][key]
    del config["weights_dtype"]
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    loaded = load_bundle(tmp_path / "b")
    assert loaded.model.config == audio_model.config
    clip = ClipInputs(audio=np.random.default_rng(0).uniform(-1, 1, 22_050).astype(np.float32))
    same = [model.predict([clip])[0].probabilities for model in (loaded.model, audio_model)]
    np.testing.assert_array_equal(*same)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": FusionConfig()}, "either a fusion network or a decision rule, got both"),
        ({"decision": None}, "either a fusion network or a decision rule, got neither"),
        (
            {"decision": DecisionConfig(face=BranchDecision())},
            "must speak of the branches face, audio; it speaks of face",
        ),
        ({"decision": DecisionConfig()}, "it speaks of none"),
        ({"audio": None}, "must speak of the branches face; it speaks of face, audio"),
        (
            {"decision": DecisionConfig(face=BranchDecision(weight=0), audio=BranchDecision(weight=0))},
            "weights of the branches must not all be 0",
        ),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "median"}, r"config\.decision\.rule: expected one of 'mean', 'log_mean'"),
        ({"pool": "frames"}, r"config\.decision\.pool: expected one of 'logits', 'probabilities'"),
        ({"temperature": 0}, r"config\.decision: a temperature must lie in"),
        ({"face": {"temperature": 0}}, r"config\.decision\.face: a temperature must lie in"),
        ({"face": {"bias": [1, 2]}}, r"config\.decision\.face: a bias has 7 values"),
        ({"face": {"bias": "none"}}, r"config\.decision\.face\.bias: expected"),
        ({"voice": {}}, r"config\.decision: unknown key 'voice'"),
    ],
)
def test_bad_files_are_refused(model: Pini2017, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save_bundle(model, tmp_path / "b", name="decided", trained=dict.fromkeys(model.parts(), True))
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    config["config"]["decision"].update(change)
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "b")


def test_nothing_seen_or_heard(model: Pini2017, make_clip: MakeClip) -> None:
    nothing, something = model.predict([ClipInputs(), make_clip(model.input_spec)])
    assert isinstance(nothing, Prediction)
    assert nothing.probabilities is None
    assert something.probabilities is not None
