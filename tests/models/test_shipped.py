"""The bundle that ships with the package and is used where none is named."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emolabel import load_model
from emolabel.config import DEFAULT_MODEL, FaceSettings, Settings
from emolabel.models.bundle import LoadedBundle, load_bundle
from emolabel.models.shipped import SHIPPED
from emolabel.models.strict import from_plain
from emolabel.types import ClipInputs, Float32Array
from tests.conftest import SHARED
from training.datasets.fer2013 import read_fer2013
from training.settings import TrainSettings, read_settings

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def shipped() -> LoadedBundle:
    return load_bundle(DEFAULT_MODEL)


def test_it_is_trained_small_and_says_what_it_is(shipped: LoadedBundle) -> None:
    folder = SHIPPED / DEFAULT_MODEL
    assert shipped.trained
    assert shipped.name == DEFAULT_MODEL
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12_000_000
    assert "non-commercial" in shipped.config.licence["weights"]
    assert set(shipped.config.licence["data"]) == {"FER-2013", "RAVDESS", "EMO-DB"}
    card = (folder / "README.md").read_text()
    assert "research and non-commercial use" in card
    assert f"{shipped.config.metrics['audio']['accuracy']:.2%}".rstrip("%") in card
    assert not [text for text in ("/tmp", "/home", "/work", "/root") if text in json.dumps(shipped.config.provenance)]


@pytest.mark.parametrize("branch", ["face", "audio"])
def test_the_settings_beside_the_code_are_those_it_was_trained_with(shipped: LoadedBundle, branch: str) -> None:
    settings = read_settings(ROOT / "training" / "configs" / f"default-{branch}.toml")
    then = shipped.config.provenance["branches"][branch]["provenance"]["settings"]
    assert from_plain(TrainSettings, then, branch) == settings


def sounds() -> dict[str, Float32Array]:
    random = np.random.default_rng(0)
    seconds = np.arange(5 * RATE_HZ) / RATE_HZ
    chord = np.sin(2 * np.pi * np.outer((220, 277.2, 329.6), seconds)).mean(axis=0)
    made = {
        "digital silence": np.zeros_like(seconds),
        "hiss": 1e-3 * random.standard_normal(len(seconds)),
        "white noise": 0.2 * random.standard_normal(len(seconds)),
        "hum": 0.1 * np.sin(2 * np.pi * 50 * seconds),
        "chord": 0.3 * chord,
    }
    return {name: sound.astype(np.float32) for name, sound in made.items()}


def test_sound_without_speech_makes_it_sure_of_nothing(shipped: LoadedBundle) -> None:
    heard = sounds()
    predictions = shipped.model.predict([ClipInputs(audio=sound) for sound in heard.values()])
    sure = {name: said.audio.max() for name, said in zip(heard, predictions, strict=True) if said.audio is not None}
    assert max(sure.values(), default=0) < 0.6, sure
    assert np.mean(list(sure.values())) < 0.4, sure


def test_pictures_of_faces_that_it_did_not_learn_from(tmp_path: Path) -> None:
    if not (SHARED / "labelled" / "fer2013").is_dir():
        pytest.skip(f"labelled pictures are absent: no {SHARED / 'labelled' / 'fer2013'}")
    pictures = read_fer2013(SHARED / "labelled" / "fer2013", unpack=tmp_path).samples
    held_out = [picture for picture in pictures if picture.split == "validation"][::30]
    settings = Settings(faces=FaceSettings(mode="whole"))
    with load_model(settings=settings, device="cpu") as model:
        said = pd.concat([model.annotate(picture.uri) for picture in held_out])
    truth = np.array([picture.label for picture in held_out])
    assert (said["dominant_emotion"].to_numpy() == truth).mean() > 0.55
    assert said["dominant_emotion"].nunique() >= 6


def test_real_videos_get_different_labels(shared_videos: Path) -> None:
    clips = sorted(shared_videos.rglob("face1_*"))[:8]
    assert clips
    with load_model(device="cpu") as model:
        said = pd.concat([model.annotate(str(clip)) for clip in clips])
    assert said["dominant_emotion"].nunique() > 1
    assert (said["emotion_score"] < 0.999).all()
