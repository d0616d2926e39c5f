"""What is written is what is read, and what makes no sense is refused with the line that holds it."""

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from training.datasets.manifest import COLUMNS, SPLITS, DataSet, Dropped, Sample, read_manifest, write_manifest

TEXT = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)
PATHS = st.lists(TEXT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
STARTS = st.none() | st.floats(0, 1e4)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    start = draw(STARTS)
    end = draw(st.none() | st.floats(1e-3, 1e4).map(lambda length: (start or 0.0) + length))
    return Sample(
        uri=draw(PATHS | PATHS.map(lambda path: f"s3://bucket{path}")),
        label=draw(st.sampled_from(EMOTIONS)),
        subject=draw(st.just("") | TEXT),
        split=draw(st.sampled_from(["", *SPLITS])),
        start_s=start,
        end_s=end,
        dataset=draw(st.just("") | TEXT),
    )


@given(written=st.lists(samples(), min_size=1, max_size=8, unique_by=lambda s: (s.uri, s.start_s, s.end_s)))
def test_what_is_written_is_read(written: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        write_manifest(DataSet("set", tuple(written)), path)
        assert read_manifest(path) == tuple(written)


def test_files_below_the_manifest_are_relative_and_others_are_not(tmp_path: Path) -> None:
    below, beside = tmp_path / "sets" / "clips" / "a, b.avi", tmp_path / "other" / "c.avi"
    uris = [str(below), str(beside), "s3://bucket/d.avi"]
    manifest = tmp_path / "sets" / "manifest.csv"
    write_manifest(DataSet("set", tuple(Sample(uri, "sad", "x-01", "test", 0.5, 2, "set") for uri in uris)), manifest)
    with manifest.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["uri", "label", "subject", "split", "start_s", "end_s", "dataset"]
    assert [row[0] for row in rows[1:]] == ["clips/a, b.avi", str(beside), "s3://bucket/d.avi"]
    assert rows[1][1:] == ["sad", "x-01", "test", "0.5", "2", "set"]
    moved = (tmp_path / "sets").rename(tmp_path / "moved")
    assert read_manifest(moved / "manifest.csv")[0].uri == str(moved / "clips" / "a, b.avi")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.avi,contempt,,,,,set", "line 2: unknown label 'contempt'; labels are: angry, disgust"),
        ("a.avi,sad,,holdout,,,set", "line 2: unknown split 'holdout'"),
        ("a.avi,sad,,,2,1,set", "line 2: no stretch of time: from 2.0 s to 1.0 s"),
        ("a.avi,sad,,,-1,1,set", "line 2: no stretch of time"),
        ("a.avi,sad,,,nan,,set", "line 2: no stretch of time"),
        ("a.avi,sad,,,,inf,set", "line 2: no stretch of time"),
        ("a.avi,sad,,,soon,,set", "line 2: 'soon' is no number of seconds"),
        (",sad,,,,,set", "line 2: a sample needs a uri"),
        ("a.avi,sad,,,,set", "line 2: 6 cells under 7 column names"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f"{','.join(COLUMNS)}\n{row}\n")
    with pytest.raises(TrainingError, match=message) as error:
        read_manifest(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"uri,label\na,sad\n", "has no column subject, split, start_s, end_s, dataset; it has: uri, label"),
        (b"", "it has: nothing"),
        (b"uri,uri\n", "has no column label"),
        (b"\xff\xfe", "cannot read the table"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        read_manifest(path)
    with pytest.raises(TrainingError, match=r"cannot read the table .*absent\.csv"):
        read_manifest(tmp_path / "absent.csv")


def test_the_same_stretch_twice_is_refused() -> None:
    once, again = Sample("/a.avi", "sad"), Sample("/a.avi", "happy")
    with pytest.raises(TrainingError, match=r"set has samples twice: /a\.avi"):
        DataSet("set", (once, again))
    DataSet("set", (once, Sample("/a.avi", "happy", start_s=1.0)))


@pytest.mark.parametrize("uri", ["/videos/caf\udce9.avi", "/videos/a\nb.avi"])
def test_names_that_no_manifest_can_hold_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrainingError, match="not plain text") as error:
        write_manifest(DataSet("set", (Sample(uri, "sad"),)), tmp_path / "manifest.csv")
    assert repr(uri) in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_left_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="set has no samples left: 1 were dropped"):
        write_manifest(DataSet("set", (), (Dropped("/a.wav", "", "song"),)), tmp_path / "manifest.csv")
    assert list(tmp_path.iterdir()) == []
