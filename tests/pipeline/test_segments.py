"""Stretches of files as inputs: `start_s` and `end_s` in a manifest."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import emolabel
from emolabel import schema
from emolabel.config import DecodeLimits, Settings, WindowPolicy
from emolabel.errors import SourceError, Status
from emolabel.labels import EMOTIONS
from emolabel.media.isolate import IsolatedMedia
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.messages import Chunk, Source
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.plan import LastProbed, plan_source
from emolabel.pipeline.retry import forget_superseded
from emolabel.pipeline.sources import Listing, list_inputs


def listed(folder: Path, text: str) -> Listing:
    (folder / "list.csv").write_text(text)
    return list_inputs([str(folder / "list.csv")])


def planned(source: Source, length_s: float | None = 3.0) -> list[Chunk]:
    with IsolatedMedia(DecodeLimits()) as media:
        return list(plan_source(source, LocalFiles(), media, Settings(windows=WindowPolicy(length_s=length_s))))


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    shutil.copy(clips / "long.mp4", tmp_path)
    return tmp_path


def test_each_stretch_is_an_input_of_its_own(folder: Path) -> None:
    text = "uri,start_s,end_s,take\nlong.mp4,,,0\nlong.mp4,1,2.5,1\nlong.mp4,3,,2\nlong.mp4,,4,3\nlong.mp4,1.0,2.50,4\n"
    listing = listed(folder, text)
    assert [(s.start_s, s.end_s) for s in listing.sources] == [(None, None), (1, 2.5), (3, None), (None, 4)]
    assert listing.n_duplicates == 1
    assert [listing.extras[s.video_id] for s in listing.sources] == [{"take": i} for i in range(4)]
    assert len({s.video_id for s in listing.sources}) == 4
    assert {s.input for s in listing.sources} == {str(folder / "long.mp4")}


def test_a_row_without_a_stretch_is_the_file(folder: Path) -> None:
    whole = list_inputs([str(folder / "long.mp4")]).sources[0]
    assert list(listed(folder, "uri,start_s,end_s\nlong.mp4,,\n").sources) == [whole]
    pq.write_table(
        pa.table({"uri": ["long.mp4"], "start_s": [float("nan")], "end_s": pa.nulls(1)}), folder / "list.parquet"
    )
    assert list(list_inputs([str(folder / "list.parquet")]).sources) == [whole]


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("5", "3", "the stretch 5-3 s is empty"),
        ("3", "3", "the stretch 3-3 s is empty"),
        ("-1", "2", "the stretch -1-2 s is none: times are finite, and count from 0"),
        ("", "0", "the stretch up to 0 s is empty"),
        ("1", "inf", "the stretch 1-inf s is none: times are finite, and count from 0"),
    ],
)
def test_a_stretch_that_makes_no_sense_costs_only_its_row(folder: Path, start: str, end: str, words: str) -> None:
    good, bad = listed(folder, f"uri,start_s,end_s\nlong.mp4,1,2\nlong.mp4,{start},{end}\n").sources
    assert (good.status, bad.status, bad.error) == (None, Status.UNSUPPORTED, words)


def test_a_time_that_is_no_number_is_one_clear_sentence(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"has end_s = '1:30' in row 2: not seconds"):
        listed(folder, "uri,end_s\nlong.mp4,3\nlong.mp4,1:30\n")


def test_windows_lie_inside_the_stretch(folder: Path) -> None:
    (source,) = listed(folder, "uri,start_s,end_s\nlong.mp4,2,9.5\n").sources
    (chunk,) = planned(source)
    assert [(w.index, w.start_s, w.end_s) for w in chunk.windows] == [(0, 2.0, 5.0), (1, 5.0, 8.0), (2, 8.0, 9.5)]
    assert (chunk.facts.start_s, chunk.facts.end_s, chunk.facts.duration_s) == (2.0, 9.5, 7.5)
    assert chunk.facts.damage is None


def test_open_ends_are_those_of_the_content(folder: Path) -> None:
    until, since = listed(folder, "uri,start_s,end_s\nlong.mp4,,2\nlong.mp4,24,\n").sources
    ((first,),) = (chunk.windows for chunk in planned(until))
    ((last,),) = (chunk.windows for chunk in planned(since))
    assert (first.start_s, first.end_s) == (0.0, 2.0)
    assert (last.start_s, last.end_s) == (24.0, pytest.approx(25.0, abs=0.05))


def test_what_lies_beyond_the_content_is_said(folder: Path) -> None:
    rounded, beyond, outside = listed(
        folder, "uri,start_s,end_s\nlong.mp4,20,25.05\nlong.mp4,20,40\nlong.mp4,30,40\n"
    ).sources
    (chunk,) = planned(rounded, None)
    assert chunk.facts.damage is None
    (chunk,) = planned(beyond, None)
    assert (chunk.windows[0].start_s, chunk.windows[0].end_s) == (20.0, pytest.approx(25.0, abs=0.05))
    assert chunk.facts.damage == "the stretch 20-40 s ends beyond the content, which is 0.000-25.000 s"
    (chunk,) = planned(outside, None)
    assert (chunk.facts.status, chunk.windows) == (Status.UNSUPPORTED, ())
    assert chunk.facts.error == "the stretch 30-40 s lies outside the content, which is 0.000-25.000 s"


def test_a_stretch_is_labelled_as_that_window_of_the_whole_file(folder: Path, quickest: str) -> None:
    listing = listed(folder, "uri,start_s,end_s\nlong.mp4,,6\nlong.mp4,4,6\n")
    settings = Settings(windows=WindowPolicy(length_s=2.0))
    with emolabel.load_model(quickest, settings=settings, device="cpu") as model:
        whole, stretch = (
            [row for chunk in model.plan(source) for result in model.label(chunk) for row in result.labels.to_pylist()]
            for source in listing.sources
        )
    assert len(whole) == 3
    (row,) = stretch
    assert (row["start_s"], row["end_s"], row["window_index"], row["n_windows"]) == (4.0, 6.0, 0, 1)
    scores = [*EMOTIONS, *(f"{branch}_{emotion}" for branch in ("face", "audio") for emotion in EMOTIONS)]
    np.testing.assert_allclose([row[name] for name in scores], [whole[2][name] for name in scores], atol=1e-5)


def test_stretches_of_one_file_are_probed_once_unless_it_changes(folder: Path) -> None:
    path = str(folder / "long.mp4")
    with LastProbed(DecodeLimits()) as media:
        first = media.probe(path)
        assert media.probe(path) is first
        os.utime(path, ns=(1, 1))
        assert media.probe(path) is not first


def test_another_stretch_of_a_failed_file_is_not_its_successor(tmp_path: Path) -> None:
    """A failed row is forgotten when the file has changed, not when another part of it is asked for."""
    folder = OutputFolder(str(tmp_path / "out"))
    folder.create()
    row = {"input": "a.mp4", "status": "missing", "n_windows": 0, "n_labelled": 0, "seconds_spent": 0.0}
    row |= dict.fromkeys(("model", "model_sha256", "emolabel_version", "run_id"), "x")
    rows = [row | {"video_id": "old", "start_s": 0.0, "end_s": 2.0}, row | {"video_id": "whole"}]
    folder.write("inputs", "part-1", pa.Table.from_pylist(rows, schema=schema.INPUTS))
    listing = Listing()
    listing.add(Source("0f" * 16, "a.mp4", "a.mp4", start_s=2.0, end_s=4.0), {})
    forget_superseded(folder, listing)
    assert folder.read("inputs")["video_id"].to_pylist() == ["old", "whole"]
    listing.add(Source("0e" * 16, "a.mp4", "a.mp4", start_s=0.0, end_s=2.0), {})
    forget_superseded(folder, listing)
    assert folder.read("inputs")["video_id"].to_pylist() == ["whole"]
