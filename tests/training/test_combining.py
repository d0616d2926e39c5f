"""Branches that were trained apart, in one bundle."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from emolabel.models.bundle import load_bundle, save_bundle
from emolabel.models.combine import BranchDecision
from emolabel.models.pini2017 import AudioConfig, FaceConfig, Pini2017, Pini2017Config
from emolabel.models.pini2017.config import DecisionConfig
from emolabel.sampling import FrameSampling
from emolabel.types import ClipInputs, CropSequence
from jobs.combine import app
from training.combining import Apart, combine_branches

FACE = Pini2017Config(
    FaceConfig(backbone="compact", sampling=FrameSampling(2, 48)),
    None,
    None,
    fusion=None,
    decision=DecisionConfig(face=BranchDecision()),
)
AUDIO = Pini2017Config(
    None, None, AudioConfig(trunk="log_mel"), fusion=None, decision=DecisionConfig(audio=BranchDecision())
)


def bundle(folder: Path, config: Pini2017Config, seed: int) -> str:
    model = Pini2017(config)
    model.reset_parameters(seed)
    save_bundle(model.eval(), folder, name=folder.name, trained=dict.fromkeys(model.parts(), True))
    return str(folder)


def said(file: Path, n_right: int, n: int, sure: float = 0.7, branches: tuple[str, ...] = ("face", "audio")) -> str:
    """Clips that all branches call the first emotion with a probability of `sure`, which it is for `n_right` of n."""
    rest = (1 - sure) / 6
    row = {name: (sure if number == 0 else rest) for number, name in enumerate(EMOTIONS)}
    table = pd.DataFrame([row] * n)
    for branch in branches:
        table = table.assign(**{f"{branch}_{name}": row[name] for name in EMOTIONS})
    table["video_id"] = [f"clip-{k}" for k in range(n)]
    table["input"] = table["video_id"]
    table["label"] = [EMOTIONS[0 if k < n_right else 1 + k % 6] for k in range(n)]
    table = table.assign(window_index=0, face_id=0, start_s=0.0, end_s=1.0)
    table.astype(dict.fromkeys(("window_index", "face_id"), "int32")).to_parquet(file)
    return str(file)


@pytest.fixture
def apart(tmp_path: Path) -> dict[str, Apart]:
    return {
        "face": Apart(bundle(tmp_path / "f", FACE, 1), (said(tmp_path / "face.parquet", 40, 100),)),
        "audio": Apart(bundle(tmp_path / "a", AUDIO, 2), (said(tmp_path / "audio.parquet", 70, 100),)),
    }


def test_each_branch_gets_the_temperature_of_its_own_mistakes(apart: dict[str, Apart], tmp_path: Path) -> None:
    made = combine_branches(apart, tmp_path / "both", name="both")
    decision = made.model.config.decision
    # Odds against each other class: said 0.7 / 0.05 = 14; true 0.4 / 0.1 = 4, so T = ln 14 / ln 4; true 14, so T = 1.
    assert decision.face.temperature == pytest.approx(np.log(14) / np.log(4), abs=0.01)
    assert decision.audio.temperature == pytest.approx(1, abs=0.01)
    assert decision.temperature == 1
    assert made.config.metrics["face"] | {"expected_calibration_error": 0} == {
        "n": 100,
        "accuracy": 0.4,
        "uar": pytest.approx(1 / 7),
        "expected_calibration_error": 0,
    }
    assert made.config.metrics["face"]["expected_calibration_error"] < 0.01
    loaded = load_bundle(tmp_path / "both")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    clip = ClipInputs(face=CropSequence(pixels, np.arange(2, dtype=np.int32)))
    (both,) = loaded.model.predict([clip])
    (face,) = load_bundle(apart["face"].bundle).model.predict([clip])
    cooled = face.face ** (1 / decision.face.temperature)
    np.testing.assert_allclose(both.face, cooled / cooled.sum(), atol=2e-3)  # half precision


def test_classes_are_brought_to_the_same_footing(apart: dict[str, Apart], tmp_path: Path) -> None:
    levelled = {name: Apart(its.bundle, its.held_out, level=0.5) for name, its in apart.items()}
    bias = combine_branches(levelled, tmp_path / "both", name="both").model.config.decision.audio.bias
    # Of the audio's truth 70 in 100 are of the first class, and 4 to 6 of each other.
    shares = pd.read_parquet(apart["audio"].held_out[0])["label"].value_counts(normalize=True)
    assert bias == pytest.approx([-0.5 * np.log(shares[name]) for name in EMOTIONS])
    one_sided = Apart(apart["face"].bundle, (said(tmp_path / "one.parquet", 9, 9),), level=0.5)
    with pytest.raises(TrainingError, match="held-out samples have no disgust"):
        combine_branches(levelled | {"face": one_sided}, tmp_path / "out", name="x")


def test_clips_calibrate_the_fused_label(apart: dict[str, Apart], tmp_path: Path) -> None:
    """Both say 0.7, which the geometric mean repeats; together they are right nine times in ten."""
    clips = said(tmp_path / "clips.parquet", 90, 100)
    made = combine_branches(apart, tmp_path / "both", name="both", clips=[clips])
    assert made.model.config.decision.temperature == pytest.approx(np.log(14) / np.log(0.9 / (0.1 / 6)), abs=0.01)
    assert made.config.metrics["fused"]["accuracy"] == 0.9
    assert made.config.metrics["fused"]["expected_calibration_error"] < 0.01


def test_what_is_missing_is_named(apart: dict[str, Apart], tmp_path: Path) -> None:
    swapped = {"face": Apart(apart["audio"].bundle, apart["face"].held_out), "audio": apart["audio"]}
    with pytest.raises(TrainingError, match="has no face branch"):
        combine_branches(swapped, tmp_path / "out", name="x")
    deaf = said(tmp_path / "deaf.parquet", 1, 2, branches=("face",))
    with pytest.raises(TrainingError, match="has no scores of the audio branch"):
        combine_branches(apart, tmp_path / "out", name="x", clips=[deaf])


def test_the_command(apart: dict[str, Apart], tmp_path: Path) -> None:
    (tmp_path / "terms.json").write_text('{"weights": "research"}')
    arguments = [
        text for name, its in apart.items() for text in (f"--{name}", its.bundle, f"--{name}-held-out", *its.held_out)
    ]
    arguments += ["--name", "both", "--licence", str(tmp_path / "terms.json"), "-o", str(tmp_path / "both")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "audio: temperature 1.0" in result.output
    config = load_bundle(tmp_path / "both").config
    assert (config.name, config.licence, config.weights_dtype) == ("both", {"weights": "research"}, "float16")
