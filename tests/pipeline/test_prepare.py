"""Prepared folders: what a model would see and hear of each clip, with nothing lost and nothing different."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

import emolabel
from emolabel import schema
from emolabel.config import Settings, WindowPolicy
from emolabel.errors import ConfigError, OutputError, SourceError, Status
from emolabel.models.base import EmotionModel
from emolabel.models.bundle import load_bundle
from emolabel.pipeline.annotate import Progress, RunOptions
from emolabel.pipeline.clips import STORED_SCHEMA, clip_of, with_clips
from emolabel.pipeline.local import Annotator
from emolabel.pipeline.messages import Chunk, InputFacts, Source, WindowResult
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.parcels import chunk_parcels, chunks_of
from emolabel.pipeline.prepare import PrepareSettings, prepare_inputs, read_spec
from emolabel.pipeline.sink import Sink
from emolabel.pipeline.sources import list_inputs
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec, SliceSampling
from emolabel.types import ClipInputs, CropSequence, Prediction, Window
from tests.media.media_files import tone, write_sound

SPEC = InputSpec(
    FrameSampling(count=6, crop_px=48), SliceSampling(count=2, length=4, crop_px=32), AudioSampling(16_000)
)
MANIFEST = """\
uri,label,subject,start_s,end_s
short.mp4,happy,anna,,
long.mp4,sad,ben,2.0,4.5
long.mp4,angry,ben,3.0,
upright_phone.mp4,fear,,,
no_sound.mp4,fear,,,
no_face.mp4,neutral,,,
voice.wav,neutral,carl,,
broken.mp4,happy,,,
gone.mp4,happy,,,
"""
STATUSES = ["ok", "ok", "ok", "ok", "no_audio", "no_face", "no_video", "unreadable", "missing"]
MAX_AUDIO_S = 4.0


def settings(**changes: Any) -> PrepareSettings:
    return PrepareSettings(**{"spec": SPEC, "max_audio_s": MAX_AUDIO_S, **changes})


@pytest.fixture(scope="module")
def manifest(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepare") / "clips"
    shutil.copytree(clips, folder)
    write_sound(folder / "voice.wav", tone(1.3))
    (folder / "manifest.csv").write_text(MANIFEST)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def prepared(manifest: Path, tmp_path_factory: pytest.TempPathFactory, ray_here: None) -> Path:
    out = tmp_path_factory.mktemp("prepare") / "out"
    progress = prepare(manifest, out)
    assert (progress.n_inputs, progress.n_finished, progress.n_failed) == (9, 9, 2)
    return out


def prepare(manifest: Path, out: Path, **changes: Any) -> Progress:
    return prepare_inputs([str(manifest)], str(out), settings(**changes), RunOptions(workers=2))


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    rows = OutputFolder(str(out)).read("labels").to_pylist()
    assert len({row["video_id"] for row in rows}) == len(rows)
    return {row["video_id"]: row for row in rows}


@pytest.mark.ray
@pytest.mark.slow
def test_every_row_of_the_manifest_is_accounted_for(manifest: Path, prepared: Path) -> None:
    sources = list_inputs([str(manifest)]).sources
    inputs = emolabel.read_inputs(prepared).set_index("video_id")
    assert inputs.loc[[source.video_id for source in sources], "status"].tolist() == STATUSES
    labels = rows_of(prepared)
    for source, line in zip(sources, MANIFEST.splitlines()[1:], strict=True):
        label, subject = line.split(",")[1:3]
        assert inputs.loc[source.video_id, "label"] == label
        if source.video_id not in labels:
            assert inputs.loc[source.video_id, "status"] in ("unreadable", "missing")
            continue
        row = labels[source.video_id]
        assert (row["label"], row["subject"], row["model"], row["n_windows"]) == (label, subject, "none", 1)
        assert row["dominant_emotion"] is None
        assert (row["face"] is not None) == (row["motion"] is not None) == row["has_face"]
        assert (row["audio"] is not None) == row["has_audio"] == (row["audio_rate_hz"] == 16_000)
    assert len(labels) == 7


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the workers: the detector's sums depend on it in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Recorder(EmotionModel):
    """Keeps what it gets."""

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        self.clips: list[ClipInputs] = []

    def __deepcopy__(self, memo: object) -> "Recorder":
        return self  # whoever runs a copy records here

    @property
    def input_spec(self) -> InputSpec:
        return self.spec

    def parts(self) -> Mapping[str, nn.Module]:
        return {}

    def collate(self, clips: Sequence[ClipInputs]) -> Sequence[ClipInputs]:
        self.clips += clips
        return clips

    def predict_batch(self, batch: Sequence[ClipInputs]) -> list[Prediction]:
        return [Prediction() for _ in batch]


def assert_same_crops(stored: CropSequence | None, given: CropSequence | None) -> None:
    assert (stored is None) == (given is None)
    if stored is not None and given is not None:
        assert np.array_equal(stored.crops, given.crops)
        assert np.array_equal(stored.index, given.index)


@pytest.mark.ray
@pytest.mark.slow
def test_a_model_in_training_gets_what_it_gets_when_annotating(
    manifest: Path, prepared: Path, quickest: str, one_thread: None
) -> None:
    """Bit for bit, where the clip is one window: the crops, and all of the sound that the spec asks for."""
    model = Recorder(replace(SPEC, audio=AudioSampling(16_000, MAX_AUDIO_S)))
    model.eval()
    bundle = replace(load_bundle(quickest), model=model)
    labels, n_compared = rows_of(prepared), 0
    with Annotator(bundle, Settings(windows=WindowPolicy(length_s=None)), "cpu", "cpu") as annotator:
        for source in list_inputs([str(manifest)]).sources:
            model.clips.clear()
            rows = [row for c in annotator.plan(source) for r in annotator.label(c) for row in r.labels.to_pylist()]
            if source.video_id not in labels:
                assert not rows
                continue
            stored, (given,), (row,) = clip_of(labels[source.video_id]), model.clips, rows
            assert_same_crops(stored.face, given.face)
            assert_same_crops(stored.motion, given.motion)
            assert (stored.audio is None) == (given.audio is None)
            if stored.audio is not None and given.audio is not None:
                assert stored.audio.tobytes() == given.audio.tobytes()
            ours = labels[source.video_id]
            of_the_run = ("model", "model_sha256", "run_id")
            assert {name: ours[name] for name in row if name not in of_the_run} == {
                name: value for name, value in row.items() if name not in of_the_run
            }
            n_compared += 1
    assert n_compared == 7


@pytest.mark.ray
@pytest.mark.slow
def test_sound_keeps_its_true_length_up_to_the_most_that_is_stored(manifest: Path, prepared: Path) -> None:
    sources = list_inputs([str(manifest)]).sources
    labels = rows_of(prepared)
    seconds = {
        (Path(source.input).name, source.start_s): len(labels[source.video_id]["audio"]) / 4 / 16_000
        for source in sources
        if source.video_id in labels and labels[source.video_id]["audio"] is not None
    }
    assert seconds["voice.wav", None] == pytest.approx(1.3, abs=1e-3)
    assert seconds["long.mp4", 2.0] == 2.5
    assert seconds["long.mp4", 3.0] == MAX_AUDIO_S  # of 22 s


@pytest.mark.ray
@pytest.mark.slow
def test_the_same_command_again_does_nothing_and_failures_are_tried_when_asked(
    manifest: Path, prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    files = sorted(path.name for path in out.rglob("*.parquet"))
    again = prepare(manifest, out)
    assert (again.n_inputs, again.n_done_before, again.n_failed_before) == (0, 9, 2)
    assert sorted(path.name for path in out.rglob("*.parquet")) == files
    retry = RunOptions(workers=1, retry=frozenset({Status.UNREADABLE}))
    assert prepare_inputs([str(manifest)], str(out), settings(), retry).n_inputs == 1
    assert rows_of(out) == rows_of(prepared)


@pytest.mark.ray
@pytest.mark.slow
def test_the_folder_knows_its_spec_and_refuses_another(manifest: Path, prepared: Path, quickest: str) -> None:
    assert read_spec(str(prepared)) == replace(SPEC, audio=AudioSampling(16_000, MAX_AUDIO_S))
    other = replace(SPEC, face=FrameSampling(count=6, crop_px=64))
    with pytest.raises(OutputError, match=r"spec\.face\.crop_px was 48, now 64"):
        prepare(manifest, prepared, spec=other)
    with pytest.raises(OutputError, match=r"spec\.audio\.seconds was 4\.0, now 30\.0"):
        prepare(manifest, prepared, max_audio_s=30.0)
    with pytest.raises(OutputError, match=r"faces\.mode was 'biggest', now 'whole'"):
        prepare(manifest, prepared, faces="whole")
    with pytest.raises(OutputError, match="model was 'none', now 'untrained-quick'"):
        emolabel.annotate(manifest, prepared, model=quickest, window=None)


@pytest.mark.ray
@pytest.mark.slow
def test_annotating_takes_stretches_too(manifest: Path, quickest: str, tmp_path: Path, ray_here: None) -> None:
    (tmp_path / "two.csv").write_text(
        f"uri,start_s,end_s\n{manifest.parent / 'long.mp4'},2,4.5\n{manifest.parent / 'long.mp4'},20,60\n"
    )
    emolabel.annotate(tmp_path / "two.csv", tmp_path / "out", model=quickest, window=2.0)
    labels = emolabel.read_labels(tmp_path / "out").sort_values("start_s")
    assert labels[["start_s", "end_s"]].to_numpy().tolist() == [[2, 4.5], [20, 22], [22, 24], [24, 25]]
    inputs = emolabel.read_inputs(tmp_path / "out").sort_values("start_s")
    assert inputs[["start_s", "end_s", "duration_s"]].to_numpy().tolist() == [[2, 4.5, 2.5], [20, 60, 5]]
    assert inputs["status"].tolist() == ["ok", "partial"]


@pytest.mark.ray
@pytest.mark.slow
def test_small_pictures_are_their_own_crops(tmp_path: Path) -> None:
    """As on the command line. Pictures of 48x48 px, as in FER-2013; more than travel together."""
    folder = tmp_path / "fer"
    folder.mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (40, 48, 48)).astype(np.uint8)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:30])
    names = [*(f"{i}.png" for i in range(40)), "broken.png"]
    (folder / "manifest.csv").write_text("uri,label,number\n" + "".join(f"{n},sad,{i}\n" for i, n in enumerate(names)))
    arguments = [str(folder / "manifest.csv"), "-o", str(tmp_path / "out"), "--faces", "whole", "--face-px", "48"]
    job = run_job(*arguments, "--face-frames", "3", "--no-audio", "--workers", "2")
    assert job.returncode == 0, job.stderr
    assert "windows: 40 ok" in job.stdout
    assert "unreadable" in job.stdout
    rows = rows_of(tmp_path / "out").values()
    assert sorted(row["number"] for row in rows) == list(range(40))
    for row in rows:
        assert (row["status"], row["n_frames"], row["face_w"], row["face_score"]) == ("ok", 1, 48.0, 1.0)
        face = clip_of(row).face
        assert face is not None
        assert face.index.tolist() == [0, 0, 0]
        assert np.array_equal(face.crops[0], np.repeat(pictures[row["number"]][..., None], 3, axis=2))


def run_job(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "jobs/prepare.py", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": "."},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--face-px", "0"], "a crop needs at least one pixel, got 0"),
        (["--no-face", "--no-audio"], "nothing to prepare: neither faces nor motion nor sound"),
        (["--model", "no-such-bundle"], "no bundle 'no-such-bundle'"),
    ],
)
def test_bad_arguments_are_one_clear_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    job = run_job("gone.csv", "-o", str(tmp_path / "out"), *arguments)
    assert job.returncode == 1
    assert message in job.stderr
    assert "Traceback" not in job.stderr


@pytest.mark.parametrize("changes", [{"max_audio_s": 0.0}, {"faces": "all"}, {"spec": InputSpec(FrameSampling(0))}])
def test_settings_are_checked_when_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        settings(**changes)


def test_a_manifest_must_not_bring_columns_of_the_output(tmp_path: Path) -> None:
    Image.new("L", (48, 48)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("uri,audio\na.png,x\n")
    with pytest.raises(SourceError, match="columns that the output has too: audio; rename them"):
        prepare(tmp_path / "list.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_give_no_pictures_but_manifests_and_names_do(tmp_path: Path) -> None:
    """A thumbnail beside a video is no input."""
    Image.new("L", (48, 48)).save(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text("uri\na.jpg\n")
    for argument, status in ((tmp_path / "a.jpg", None), (tmp_path / "list.csv", None), (tmp_path, Status.SKIPPED)):
        assert list_inputs([str(argument)]).sources[0].status is status


def test_big_rows_are_written_before_they_fill_the_driver(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path / "out"))
    folder.create()
    stamp = RunStamp("none", "", "0", "run")
    sink = Sink(folder, stamp, {}, {}, pa.schema([]), STORED_SCHEMA)
    audio = np.zeros(30 * 2**18, np.float32)  # 30 MB
    for i in range(3):
        row = {field.name: None for field in schema.LABELS if field.nullable} | vars(stamp)
        row |= {"video_id": str(i), "input": "a", "status": "no_face", "has_face": False, "has_audio": True}
        row |= dict.fromkeys(("window_index", "n_windows", "face_id", "n_frames", "n_face_frames"), 0)
        row |= {"start_s": 0.0, "end_s": 1.0}
        labels = pa.Table.from_pylist([row], schema=schema.LABELS)
        result = WindowResult(InputFacts(str(i), "a", 1, n_windows=1), 0, labels, (ClipInputs(audio=audio),))
        sink.add(with_clips(result, SPEC))
        assert len(folder.parquet_files("labels")) == (1 if i == 2 else 0)


def test_small_inputs_travel_together_and_big_ones_alone() -> None:
    def chunk(name: str, seconds: float, n_windows: int = 1) -> Chunk:
        windows = tuple(Window(i, i * seconds, (i + 1) * seconds) for i in range(n_windows))
        return Chunk(Source(name, name, name), InputFacts(name, name, 1, n_windows=n_windows), windows)

    chunks = [chunk(f"picture {i}", 0.04) for i in range(40)] + [chunk("film", 5.0, 12)]
    chunks += [chunk("word", 1.5), chunk("word 2", 1.5), chunk("failed", 1.0, 0)]
    parcels = [[one.facts.video_id for one in chunks_of(parcel)] for parcel in chunk_parcels(chunks, most_s=2.0)]
    assert sorted(name for parcel in parcels for name in parcel) == sorted(one.facts.video_id for one in chunks)
    assert sorted(map(len, parcels)) == [1, 2, 9, 32]
    assert ["film"] in parcels
    assert [len(chunks_of(parcel)) for parcel in chunk_parcels(chunks, most_s=None)] == [1] * len(chunks)
