"""The only writer: nothing twice, nothing half, whatever the storage does."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

import emolabel
from emolabel import schema
from emolabel.errors import OutputError
from emolabel.pipeline import output
from emolabel.pipeline.messages import InputFacts, WindowResult
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.resume import read_finished
from emolabel.pipeline.retry import forget_incomplete
from emolabel.pipeline.sink import Sink
from emolabel.pipeline.stamp import RunStamp
from tests.pipeline.compare import labels_of

STAMP = RunStamp("m", "0" * 64, "0.1", "run")


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    folder = OutputFolder(str(tmp_path / "out"))
    folder.create()
    folder.write_run({})
    return folder


@pytest.fixture
def sink(folder: OutputFolder) -> Sink:
    return Sink(folder, STAMP, {}, {}, pa.schema([]))


def window(video: str, index: int, n_windows: int) -> WindowResult:
    row = {
        "video_id": video,
        "input": f"{video}.mp4",
        "window_index": index,
        "n_windows": n_windows,
        "start_s": float(index),
        "end_s": index + 1.0,
        "face_id": schema.NO_FACE_ID,
        "n_frames": 0,
        "n_face_frames": 0,
        "has_face": False,
        "has_audio": False,
        "status": "no_signal",
        "error": "nothing",
        **vars(STAMP),
    }
    labels = pa.Table.from_pylist([row], schema=schema.LABELS)
    return WindowResult(InputFacts(video, f"{video}.mp4", 1, n_windows=n_windows), index, labels)


def test_a_window_that_comes_twice_is_written_once(folder: OutputFolder, sink: Sink, tmp_path: Path) -> None:
    for result in (window("a", 0, 2), window("a", 0, 2), window("a", 1, 2), window("a", 1, 2), window("a", 0, 2)):
        sink.add(result)
    sink.flush()
    sink.add(window("a", 1, 2))
    sink.flush()
    assert labels_of(tmp_path / "out")["window_index"].tolist() == [0, 1]
    assert len(emolabel.read_inputs(tmp_path / "out")) == 1


@pytest.mark.parametrize("failing_write", [0, 1], ids=["labels", "inputs"])
@pytest.mark.parametrize("after_it_worked", [False, True], ids=["before", "after"])
def test_a_write_that_fails_is_repeated_without_doubling(
    sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_write: int, after_it_worked: bool
) -> None:
    """Also where the file was written and only the answer was lost."""
    real, calls = output._put_locally, iter(range(100))

    def unreliable(path: str, content: bytes) -> None:
        fails = next(calls) == failing_write
        if fails and not after_it_worked:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    sink.add(window("a", 0, 1))
    monkeypatch.setattr(output, "_put_locally", unreliable)
    with pytest.raises(OutputError, match="cannot write to the output folder"):
        sink.flush()
    sink.add(window("b", 0, 1))
    sink.flush()
    sink.add(window("c", 0, 1))
    sink.flush()
    assert labels_of(tmp_path / "out")["video_id"].tolist() == ["a", "b", "c"]
    assert sorted(emolabel.read_inputs(tmp_path / "out")["video_id"]) == ["a", "b", "c"]


def test_rows_that_wait_stay_whole_and_in_order(sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are kept one by one; a write fails in between, and more come before the next."""
    monkeypatch.setattr(output, "_RETRY_PAUSES_S", ())
    for index in range(600):
        sink.add(window("a", index, 900))
    with monkeypatch.context() as broken:
        broken.setattr(output, "_put_locally", lambda path, content: os.stat(tmp_path / "no disk"))
        with pytest.raises(OutputError):
            sink.flush()
    for index in range(600, 900):
        sink.add(window("a", index, 900))
    sink.flush()
    assert labels_of(tmp_path / "out")["window_index"].tolist() == list(range(900))
    assert len(emolabel.read_inputs(tmp_path / "out")) == 1


def test_a_full_disk_leaves_nothing_half_written(sink: Sink, tmp_path: Path) -> None:
    import resource

    sink.add(window("a", 0, 1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write to the output folder .*File too large"):
            sink.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any((tmp_path / "out").rglob("*part*"))
    sink.flush()
    assert len(labels_of(tmp_path / "out")) == 1


def test_what_is_written_is_what_is_finished(folder: OutputFolder, sink: Sink) -> None:
    for result in (window("a", 0, 1), window("b", 0, 3), window("b", 2, 3)):
        sink.add(result)
    sink.flush()
    finished = read_finished(folder)
    assert finished.inputs == {"a"}
    assert sorted(finished.started["b"].windows) == [0, 2]
    again = Sink(folder, STAMP, finished.started, {}, pa.schema([]))
    assert again.add(window("b", 2, 3)) is None
    row = again.add(window("b", 1, 3))
    assert row is not None
    assert row["n_windows"] == 3


def test_an_unreadable_file_in_the_output_is_named(folder: OutputFolder, tmp_path: Path) -> None:
    (tmp_path / "out" / "labels" / "part-x.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(OutputError, match=r"part-x\.parquet cannot be read"):
        read_finished(folder)


def test_an_input_that_lost_windows_is_forgotten_and_no_other(folder: OutputFolder, sink: Sink, tmp_path: Path) -> None:
    """A damaged file of labels was removed, as the error message asks."""
    sink.add(window("whole", 0, 1))
    sink.add(window("torn", 0, 2))
    sink.flush()
    first = set((tmp_path / "out" / "labels").iterdir())
    sink.add(window("torn", 1, 2))
    sink.add(window("also whole", 0, 1))
    sink.flush()
    forget_incomplete(folder)
    assert read_finished(folder).inputs == {"whole", "torn", "also whole"}
    for path in first:
        path.unlink()
    forget_incomplete(folder)
    finished = read_finished(folder)
    assert finished.inputs == {"also whole"}
    assert sorted(finished.started["torn"].windows) == [1]
