"""The configurations that ship are those of the paper."""

from pathlib import Path

import pytest

from emolabel.models.pini2017 import FULL, SUBMISSION_1
from training.settings import read_settings

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_configuration_can_be_read(path: Path) -> None:
    settings = read_settings(path)
    assert settings.primary in settings.set_names
    assert settings.name


def test_submissions_are_the_papers() -> None:
    one, three, four = (read_settings(CONFIGS / f"submission{n}.toml") for n in (1, 3, 4))
    assert one.model == SUBMISSION_1
    assert three.model == four.model == FULL
    assert list(one.stages) == ["face", "audio", "fusion"]
    assert list(four.stages) == ["face", "motion", "audio", "fusion"]
    for settings in (one, three, four):
        rates = {name: stage.learning_rate for name, stage in settings.stages.items()}
        assert rates == {"face": 1e-4, "motion": 1e-3, "audio": 1e-3, "fusion": 5e-4} or "motion" not in rates
        assert (rates["face"], rates["audio"], rates["fusion"]) == (1e-4, 1e-3, 5e-4)
        batches = {name: stage.batch_size for name, stage in settings.stages.items()}
        assert (batches["face"], batches["audio"], batches["fusion"]) == (128, 128, 16)
        assert not any(stage.train_trunk for stage in settings.stages.values())
        assert all(stage.optimiser == "adam" and stage.schedule == "constant" for stage in settings.stages.values())
        assert settings.stages["face"].sets == ("afew", "fer2013")
        assert settings.stages["audio"].sets == ("afew", "enterface05")
        assert (settings.folds.count, settings.folds.of) == (5, "validation")
    losses = [(s.stages["fusion"].loss, s.stages["fusion"].weight_strength) for s in (one, three, four)]
    assert losses == [("plain", 1.0), ("plain", 1.0), ("weighted", 1.0)]
