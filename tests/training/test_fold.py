"""The whole procedure on sets that can be learnt."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from emolabel.errors import BundleError, TrainingError
from emolabel.labels import EMOTIONS
from emolabel.models.bundle import load_bundle
from emolabel.models.pini2017 import AudioConfig, FaceConfig, FusionConfig, MotionConfig, Pini2017Config
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec, SliceSampling
from tests.training.conftest import FACE_PX, RATE_HZ, MakeSet, write_run
from training.checkpoint import load_checkpoint
from training.fold import Stopped, train_fold
from training.progress import EpochReport, read_log
from training.settings import AugmentSettings, FoldSettings, StageSettings, TrainSettings

FACE = FaceConfig(backbone="compact", sampling=FrameSampling(3, FACE_PX))
AUDIO = AudioConfig(sampling=AudioSampling(RATE_HZ, 1.0))
STAGE = StageSettings(epochs=2, learning_rate=1e-3, batch_size=16, views_per_clip=2, train_trunk=True)
GENTLE = AugmentSettings(flip=0, zoom=1.05, shift=0.02)
SETTINGS = TrainSettings(
    name="small",
    primary="clips",
    model=Pini2017Config(FACE, None, AUDIO, FusionConfig(clusters=2)),
    face=replace(STAGE, augment=GENTLE),
    audio=STAGE,
    fusion=StageSettings(epochs=3, learning_rate=5e-4, batch_size=8),
    folds=FoldSettings(2, "all"),
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_bundle(folder / "bundle").model.state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_fold_leaves_a_bundle_predictions_and_a_log(make_set: MakeSet, tmp_path: Path) -> None:
    clips = make_set("clips", seconds=1.5)  # longer than the model hears
    seen: list[EpochReport] = []
    result = train_fold(SETTINGS, {"clips": clips}, 0, tmp_path / "fold-0", seen.append)
    assert [(report.stage, report.epoch) for report in seen] == [
        *(("face", 1), ("face", 2), ("audio", 1), ("audio", 2), ("fusion", 1), ("fusion", 2), ("fusion", 3))
    ]
    with (tmp_path / "fold-0" / "log.csv").open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [report.loss for report in seen]
    bundle = load_bundle(tmp_path / "fold-0" / "bundle")
    assert bundle.trained
    assert bundle.name == "small-fold0"
    assert bundle.config.provenance["settings"]["seed"] == SETTINGS.seed
    rows = pq.read_table(tmp_path / "fold-0" / "predictions.parquet").to_pylist()
    assert len(rows) == result.n_held_out
    assert 28 - result.n_learnt == result.n_held_out > 0
    right = [row["label"] == row["dominant_emotion"] for row in rows]
    assert result.accuracy == pytest.approx(sum(right) / len(rows))
    for row in rows:
        assert sum(row[emotion] for emotion in EMOTIONS) == pytest.approx(1, abs=1e-5)
        assert sum(row[f"audio_{emotion}"] for emotion in EMOTIONS) == pytest.approx(1, abs=1e-5)
        assert row["fold"] == 0
    single = pq.read_table(tmp_path / "fold-0" / "single.parquet").to_pylist()
    assert {row["modality"]: row["n"] for row in single} == {"face": 3 * len(rows), "audio": len(rows)}
    assert train_fold(SETTINGS, {"clips": clips}, 0, tmp_path / "fold-0", seen.append) == result
    assert len(seen) == 7


@pytest.mark.parametrize("stops", [(1,), (3, 5), (2, 4, 6)])
def test_a_fold_that_was_stopped_ends_with_the_same_weights(
    stops: tuple[int, ...], make_set: MakeSet, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, face=replace(SETTINGS.stages["face"], average=0.9, schedule="one_cycle", mixup=0.2))
    clips = make_set("clips", n=14, n_subjects=2)
    train_fold(settings, {"clips": clips}, 1, tmp_path / "straight")
    epochs: list[EpochReport] = []
    for stop in stops:
        with pytest.raises(Stopped):
            train_fold(settings, {"clips": clips}, 1, tmp_path / "stopped", epochs.append, lambda: len(epochs) == stop)  # noqa: B023
    train_fold(settings, {"clips": clips}, 1, tmp_path / "stopped", epochs.append)
    assert len(epochs) == 7
    assert_same_weights(tmp_path / "straight", tmp_path / "stopped")


def test_a_checkpoint_of_other_settings_or_data_is_refused(make_set: MakeSet, tmp_path: Path) -> None:
    clips = make_set("clips", n=14, n_subjects=2)
    with pytest.raises(Stopped):
        train_fold(SETTINGS, {"clips": clips}, 0, tmp_path / "fold", should_stop=lambda: True)
    with pytest.raises(TrainingError, match="a fold of other settings"):
        train_fold(replace(SETTINGS, seed=1), {"clips": clips}, 0, tmp_path / "fold")
    with pytest.raises(TrainingError, match="a fold of other data"):
        train_fold(SETTINGS, {"clips": make_set("other", n=14, n_subjects=2, seed=1)}, 0, tmp_path / "fold")
    (tmp_path / "fold" / "checkpoint.pt").write_bytes(b"cut short")
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        train_fold(SETTINGS, {"clips": clips}, 0, tmp_path / "fold")


def test_a_pickle_in_place_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    torch.save({"plan": Bomb()}, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "exploded").exists()


def test_missing_and_unfit_data_are_named(make_set: MakeSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--set clips=FOLDER"):
        train_fold(SETTINGS, {}, 0, tmp_path / "fold")
    silent = make_set("silent", without=("audio",))
    with pytest.raises(TrainingError, match="anything for the audio branch"):
        train_fold(SETTINGS, {"clips": silent}, 0, tmp_path / "silent-fold")
    bigger = replace(SETTINGS, model=replace(SETTINGS.model, face=replace(FACE, sampling=FrameSampling(3, 64))))
    with pytest.raises(TrainingError, match="prepared with face crop_px 32, the model wants 64"):
        train_fold(bigger, {"clips": make_set("clips")}, 0, tmp_path / "big")


def test_imported_parts_are_taken_over_and_stay_frozen(make_set: MakeSet, tmp_path: Path) -> None:
    clips = make_set("clips", n=14, n_subjects=2)
    train_fold(SETTINGS, {"clips": clips}, 0, tmp_path / "first")
    start = tmp_path / "first" / "bundle"
    frozen = replace(
        SETTINGS,
        start=str(start),
        face=replace(SETTINGS.stages["face"], train_trunk=False),
        audio=replace(SETTINGS.stages["audio"], train_trunk=False),
    )
    train_fold(frozen, {"clips": clips}, 1, tmp_path / "second")
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    trunks = [key for key in before if ".trunk." in key]
    assert trunks
    assert all(torch.equal(before[key], after[key]) for key in trunks)
    heads = [key for key in before if key.endswith("classifier.weight")]
    assert not any(torch.equal(before[key], after[key]) for key in heads)
    assert load_bundle(tmp_path / "second" / "bundle").trained
    train_fold(replace(frozen, start_branches=("face",)), {"clips": clips}, 1, tmp_path / "third")
    with pytest.raises(BundleError, match="has no trained branch motion"):
        train_fold(replace(frozen, start_branches=("motion",)), {"clips": clips}, 1, tmp_path / "fourth")
    third = weights(tmp_path / "third")
    assert all(torch.equal(before[key], third[key]) is key.startswith("branches.face") for key in trunks)


def test_other_sets_are_learnt_from_by_the_branches_that_name_them(make_set: MakeSet, tmp_path: Path) -> None:
    pictures = make_set("pictures", n=21, without=("audio",), seed=5)
    write_run(pictures, InputSpec(face=FrameSampling(1, FACE_PX)))  # single pictures: no clip needs three of them
    settings = replace(SETTINGS, face=replace(SETTINGS.stages["face"], sets=("clips", "pictures")))
    folders = {"clips": make_set("clips", n=14, n_subjects=2), "pictures": pictures}
    train_fold(settings, folders, 0, tmp_path / "both")
    shutil.rmtree(tmp_path / "both" / "bundle")
    train_fold(SETTINGS, {"clips": folders["clips"]}, 0, tmp_path / "one")
    assert load_bundle(tmp_path / "one" / "bundle").config.provenance["data"].keys() == {"clips"}


def test_one_network_on_everything(make_set: MakeSet, tmp_path: Path) -> None:
    """Nothing is held out, and a balanced epoch has more or fewer steps than the schedule counted on."""
    pictures = make_set("pictures", n=30, without=("audio",), seed=5)
    for file in (pictures / "labels").glob("*.parquet"):  # of one view each: clips have three
        table = pq.read_table(file)
        rows = table.to_pylist()
        for row in rows:
            row["face"] |= {"index": [0], "pixels": row["face"]["pixels"][: 3 * FACE_PX**2]}
        pq.write_table(table.from_pylist(rows, schema=table.schema), file)
    face = replace(SETTINGS.stages["face"], sets=("clips", "pictures"), balance=True, schedule="one_cycle", epochs=5)
    face = replace(face, views_per_clip=3, batch_size=4, stop_after=4)
    folders = {"clips": make_set("clips", n=7, n_subjects=2), "pictures": pictures}
    write_run(pictures, InputSpec(face=FrameSampling(1, FACE_PX)))
    result = train_fold(replace(SETTINGS, face=face), folders, None, tmp_path / "all")
    assert (result.n_learnt, result.n_held_out, result.accuracy) == (7, 0, None)
    assert load_bundle(tmp_path / "all" / "bundle").name == "small"
    assert len(pq.read_table(tmp_path / "all" / "predictions.parquet")) == 0
    assert [report.validation_loss for report in read_log(tmp_path / "all")] == [None] * 9


def test_motion_is_trained_too(make_set: MakeSet, tmp_path: Path) -> None:
    settings = replace(
        SETTINGS,
        model=Pini2017Config(None, MotionConfig(SliceSampling(2)), AUDIO, FusionConfig(clusters=2)),
        face=None,
        motion=replace(STAGE, epochs=1, batch_size=4, views_per_clip=2, train_trunk=False, cache_trunk=True),
        audio=replace(STAGE, epochs=1),
        fusion=replace(SETTINGS.stages["fusion"], epochs=1),
    )
    clips = make_set("clips", n=14, n_subjects=2, motion=True)
    train_fold(settings, {"clips": clips}, 0, tmp_path / "fold")
    bundle = load_bundle(tmp_path / "fold" / "bundle")
    assert bundle.config.trained["motion.head"]
    assert not bundle.config.trained["motion.trunk"]
