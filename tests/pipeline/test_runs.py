"""Whole runs on a real Ray: accounting, reading, determinism, going on where a run stopped."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

import emolabel
from emolabel import schema
from emolabel.errors import ConfigError, OutputError
from emolabel.labels import EMOTIONS
from emolabel.models.layout import has_bfloat16
from emolabel.pipeline import cluster
from emolabel.pipeline.cluster import StageShares
from tests.pipeline.compare import KEYS, assert_same_inputs, assert_same_labels, labels_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EXPECTED = {  # name: status, windows, whether its rows show a face
    "long.mp4": ("ok", 5, True),
    "short.mp4": ("ok", 2, True),
    "two_faces.mp4": ("ok", 1, True),
    "no_face.mp4": ("no_face", 1, False),
    "no_sound.mp4": ("no_audio", 1, True),
    "upright_phone.mp4": ("ok", 1, True),
    "broken.mp4": ("unreadable", 0, False),
    "gone.mp4": ("missing", 0, False),
    "notes.txt": ("skipped", 0, False),
}


def test_every_input_has_one_row_with_its_status(done: Path) -> None:
    inputs = emolabel.read_inputs(done)
    inputs["name"] = inputs["input"].map(lambda path: Path(path).name)
    assert inputs["name"].is_unique
    got = dict(zip(inputs["name"], zip(inputs["status"], inputs["n_windows"], strict=True), strict=True))
    assert got == {name: (status, n) for name, (status, n, _) in EXPECTED.items()}
    reasons = inputs.set_index("name")["error"]
    assert reasons[[name for name, (status, _, _) in EXPECTED.items() if status != "ok"]].notna().all()
    assert "moov" in reasons["broken.mp4"]


def test_a_model_that_is_a_stage_of_its_own_gives_the_same_labels(
    folder: Path, quick: str, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with GPUs, which this machine may not have: the actors that decode send crops and sound to one that scores."""
    divide, made = cluster.share_cluster, []

    def apart(*args: Any) -> StageShares:
        made.append(replace(divide(*args), n_decode=1, n_predict=1, predict_cpus=0.4))
        return made[-1]

    monkeypatch.setattr(cluster, "share_cluster", apart)
    emolabel.annotate([folder, folder / "gone.mp4"], tmp_path / "out", model=quick, workers=2)
    assert made, "the stages were placed in another way"
    assert_same_labels(done, tmp_path / "out")
    assert_same_inputs(done, tmp_path / "out")


def test_every_window_has_its_rows_and_the_right_face_flag(done: Path) -> None:
    labels = labels_of(done)
    labels["name"] = labels["input"].map(lambda path: Path(path).name)
    for name, (_, n_windows, face) in EXPECTED.items():
        rows = labels[labels["name"] == name]
        assert rows["window_index"].tolist() == list(range(n_windows)), name
        assert (rows["has_face"] == face).all(), name
        assert (rows["n_face_frames"] > 0).eq(rows["has_face"]).all(), name
    scores = labels[list(EMOTIONS)].to_numpy()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert (labels["dominant_emotion"] == [EMOTIONS[i] for i in scores.argmax(axis=1)]).all()
    assert labels.loc[labels["has_audio"], "audio_angry"].notna().all()
    assert labels.loc[~labels["has_audio"], "audio_angry"].isna().all()
    assert labels.loc[labels["has_face"], "face_angry"].notna().all()
    assert labels["motion_angry"].notna().eq(labels["has_face"]).all()
    assert set(labels["model"]) == {"untrained-quick"}


def test_readers_that_know_nothing_of_us_get_plain_types(done: Path) -> None:
    for kind, expected in (("labels", schema.LABELS), ("inputs", schema.INPUTS)):
        for path in (done / kind).glob("*.parquet"):
            assert pq.read_schema(path).remove_metadata() == expected
    query = f"select dominant_emotion, count(*) from '{done}/labels/*.parquet' group by 1"
    by_duckdb = dict(duckdb.sql(query).fetchall())
    by_pandas = pd.read_parquet(done / "labels")["dominant_emotion"].value_counts().to_dict()
    by_polars = dict(pl.read_parquet(f"{done}/labels/*.parquet")["dominant_emotion"].value_counts().rows())
    assert by_duckdb == by_pandas == by_polars
    assert sum(by_duckdb.values()) == sum(n for _, n, _ in EXPECTED.values())


def test_the_same_command_again_does_nothing(folder: Path, quick: str, done: Path) -> None:
    files = sorted(path.name for path in done.rglob("*.parquet"))
    progress = emolabel.annotate([folder, folder / "gone.mp4"], done, model=quick)
    assert (progress.n_inputs, progress.n_done_before) == (0, len(EXPECTED))
    assert sorted(path.name for path in done.rglob("*.parquet")) == files


def test_another_window_or_model_into_the_same_folder_is_refused(folder: Path, quick: str, done: Path) -> None:
    with pytest.raises(OutputError, match=r"windows\.length_s was 5\.0, now 2\.0.*--overwrite"):
        emolabel.annotate(folder, done, model=quick, window=2.0)
    with pytest.raises(OutputError, match="precision was 'float32', now 'bfloat16'"):
        emolabel.annotate(folder, done, model=quick, precision="bfloat16")
    with pytest.raises(OutputError, match="model was 'untrained-quick', now 'emolabel-1'"):
        emolabel.annotate(folder, done)


@pytest.mark.skipif(not has_bfloat16("cpu"), reason="this processor has no bfloat16")
def test_a_run_in_bfloat16_has_nearly_the_same_scores(folder: Path, quick: str, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    emolabel.annotate([folder, folder / "gone.mp4"], out, model=quick, workers=2, precision="bfloat16")
    before, after = labels_of(done).set_index(KEYS), labels_of(out).set_index(KEYS)
    faces = [f"face_{emotion}" for emotion in EMOTIONS]
    apart = (before[faces] - after[faces]).abs().max().max()
    assert 0 < apart < 0.02


def test_labels_do_not_depend_on_workers_batches_or_order(folder: Path, quick: str, done: Path, tmp_path: Path) -> None:
    names = [name for name in EXPECTED if name != "notes.txt"]
    np.random.default_rng(0).shuffle(names)
    manifest = tmp_path / "shuffled.csv"
    manifest.write_text("uri,place\n" + "".join(f"{folder / name},{i}\n" for i, name in enumerate(names)))
    out = tmp_path / "out"
    emolabel.annotate([manifest, folder], out, model=quick, workers=1, batch_size=1)
    labels = labels_of(out)
    places = {str(folder / name): i for i, name in enumerate(names)}
    assert (labels["place"] == labels["input"].map(places)).all()  # manifest columns ride along
    reference = labels_of(done)
    numeric = reference.select_dtypes("number").columns
    np.testing.assert_allclose(labels[numeric], reference[numeric], atol=1e-5, rtol=0)


def test_a_run_goes_on_inside_a_long_video(folder: Path, quick: str, done: Path, tmp_path: Path) -> None:
    """What a killed run leaves: some windows of a video are written, its row in `inputs` is not."""
    out = tmp_path / "out"
    shutil.copytree(done, out)
    labels, inputs = labels_of(out), emolabel.read_inputs(out)
    long = inputs.loc[inputs["input"] == str(folder / "long.mp4"), "video_id"].item()
    for kind, kept in (
        ("labels", (labels["video_id"] != long) | labels["window_index"].isin([0, 1, 3])),
        ("inputs", inputs["video_id"] != long),
    ):
        table = (labels if kind == "labels" else inputs)[kept]
        for path in (out / kind).glob("*.parquet"):
            path.unlink()
        table.to_parquet(out / kind / "part-before.parquet", schema=getattr(schema, kind.upper()), index=False)
    progress = emolabel.annotate([folder, folder / "gone.mp4"], out, model=quick, workers=1)
    assert (progress.n_inputs, progress.n_resumed, progress.n_windows) == (1, 1, 2)
    fresh = labels_of(out)
    assert sorted(fresh.loc[fresh["run_id"] == progress.run_id, "window_index"]) == [2, 4]
    assert_same_labels(done, out)
    assert_same_inputs(done, out)


def test_every_face_gets_a_row_when_asked(folder: Path, quickest: str, tmp_path: Path, ray_here: None) -> None:
    out = tmp_path / "out"
    both = [folder / "two_faces.mp4", folder / "no_face.mp4"]
    emolabel.annotate(both, out, model=quickest, faces="all", window=None, workers=1)
    labels = labels_of(out)
    labels["name"] = labels["input"].map(lambda path: Path(path).name)
    assert labels[labels["name"] == "two_faces.mp4"]["face_id"].tolist() == [0, 1]
    assert labels[labels["name"] == "no_face.mp4"]["face_id"].tolist() == [schema.NO_FACE_ID]
    assert set(labels["n_windows"]) == {1}
    assert not labels.duplicated(KEYS).any()


def test_a_gpu_that_is_not_there_is_a_clear_error(folder: Path, quickest: str, tmp_path: Path, ray_here: None) -> None:
    with pytest.raises(ConfigError, match="a GPU was asked for, but the cluster has none"):
        emolabel.annotate(folder, tmp_path / "out", model=quickest, device="cuda")
