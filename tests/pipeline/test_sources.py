"""Listing inputs: files, folders, globs, manifests, object stores."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emolabel.errors import SourceError, Status
from emolabel.pipeline.sources import list_inputs, redact


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.MKV", "sub/c.avi", "notes.txt", "no_suffix", ".hidden.mp4", ".cache/d.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "videos"


def names(inputs: list[str], **options: int) -> list[str]:
    return [Path(source.input).name for source in list_inputs(inputs, **options).sources]


def test_folder_gives_every_visible_file_once_in_order(folder: Path) -> None:
    listing = list_inputs([str(folder)])
    assert [Path(s.input).name for s in listing.sources] == ["a.mp4", "b.MKV", "no_suffix", "notes.txt", "c.avi"]
    skipped = {Path(s.input).name: s.error for s in listing.sources if s.status is Status.SKIPPED}
    assert list(skipped) == ["notes.txt"]
    assert ".txt" in (skipped["notes.txt"] or "")
    assert [s.size_bytes for s in listing.sources[:2]] == [5, 5]


def test_a_file_named_directly_is_tried_whatever_its_name(folder: Path) -> None:
    (source,) = list_inputs([str(folder / "notes.txt")]).sources
    assert source.status is None


def test_globs_including_recursive_ones(folder: Path) -> None:
    assert names([str(folder / "*.mp4")]) == ["a.mp4"]
    assert names([str(folder / "**" / "*.avi")]) == ["c.avi"]


def test_a_file_with_glob_characters_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "clip[1].mp4").write_bytes(b"x")
    (tmp_path / "clip1.mp4").write_bytes(b"x")
    assert names([str(tmp_path / "clip[1].mp4")]) == ["clip[1].mp4"]


def test_missing_file_is_a_row_and_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    (source,) = list_inputs([str(tmp_path / "gone.mp4")]).sources
    assert source.status is Status.MISSING
    with pytest.raises(SourceError, match="no inputs found in"):
        list_inputs([str(tmp_path / "*.mp4")])


def test_duplicates_are_taken_once_and_limit_counts_distinct_inputs(folder: Path) -> None:
    listing = list_inputs([str(folder / "a.mp4"), str(folder), str(folder / "a.mp4")])
    assert listing.n_duplicates == 2
    assert len(listing.sources) == 5
    assert names([str(folder / "a.mp4"), str(folder)], limit=2) == ["a.mp4", "b.MKV"]


def test_a_replaced_file_is_a_new_video_and_an_untouched_one_is_not(folder: Path) -> None:
    before = list_inputs([str(folder / "a.mp4")]).sources[0].video_id
    assert list_inputs([str(folder / "a.mp4")]).sources[0].video_id == before
    os.utime(folder / "a.mp4", ns=(1, 1))
    assert list_inputs([str(folder / "a.mp4")]).sources[0].video_id != before


def write_manifest(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".csv":
        header = list(rows[0])
        path.write_text("\n".join([",".join(header), *(",".join(str(row[h]) for h in header) for row in rows)]) + "\n")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_manifest_columns_ride_along(folder: Path, suffix: str) -> None:
    rows: list[dict[str, object]] = [
        {"uri": "a.mp4", "speaker": "anna", "take": 1},
        {"uri": str(folder / "sub/c.avi"), "speaker": "ben", "take": 2},
        {"uri": "gone.mp4", "speaker": "cem", "take": 3},
    ]
    listing = list_inputs([str(write_manifest(folder / f"list{suffix}", rows))])
    assert [Path(s.input).name for s in listing.sources] == ["a.mp4", "c.avi", "gone.mp4"]
    assert [s.status for s in listing.sources] == [None, None, Status.MISSING]
    assert [listing.extras[s.video_id] for s in listing.sources][:2] == [
        {"speaker": "anna", "take": 1},
        {"speaker": "ben", "take": 2},
    ]
    assert listing.extra_schema == pa.schema([("speaker", pa.string()), ("take", pa.int64())])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na.mp4,1\n", "no column 'uri'; it has: path, label"),
        ("uri,status\na.mp4,1\n", "columns that the output has too: status"),
        ("uri,x\na.mp4,1\n,2\n", "no such file|rows without a 'uri'"),
        ("", "cannot read the manifest"),
    ],
)
def test_bad_manifests_are_one_clear_sentence(tmp_path: Path, content: str, message: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(content)
    if "no such file" in message:  # an empty cell of a text column is an empty name, not a null
        assert list_inputs([str(manifest)]).sources[1].status is not None
        return
    with pytest.raises(SourceError, match=message):
        list_inputs([str(manifest)])


def test_unknown_file_system_and_credentials_in_errors() -> None:
    with pytest.raises(SourceError, match=r"cannot open nosuch://\*\*\*@host/a\.mp4"):
        list_inputs(["nosuch://user:secret@host/a.mp4"])


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:secret@bucket/a.mp4", "s3://***@bucket/a.mp4"),
        ("s3://bucket/a.mp4?endpoint_override=x&secret=y", "s3://bucket/a.mp4?***"),
        ("s3://bucket/plain.mp4", "s3://bucket/plain.mp4"),
        ("/home/a@b/c?d.mp4", "/home/a@b/c?d.mp4"),
    ],
)
def test_redaction(uri: str, shown: str) -> None:
    assert redact(uri) == shown
