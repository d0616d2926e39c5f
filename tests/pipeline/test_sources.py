"""Listing inputs: files, folders, globs, manifests, object stores."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emolabel.errors import ConfigError, SourceError, Status
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.locations import redact
from emolabel.pipeline.shard import Shard
from emolabel.pipeline.sources import list_inputs


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


def test_shards_part_the_inputs_and_keep_them(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.mp4").write_bytes(b"")
    parts = [list_inputs([str(tmp_path)], shard=Shard(k, 3)).sources for k in (1, 2, 3)]
    assert sorted(s.video_id for part in parts for s in part) == sorted(
        s.video_id for s in list_inputs([str(tmp_path)]).sources
    )
    for path in tmp_path.iterdir():
        path.write_bytes(b"other content")
    again = [list_inputs([str(tmp_path)], shard=Shard(k, 3)).sources for k in (1, 2, 3)]
    assert [[s.input for s in part] for part in again] == [[s.input for s in part] for part in parts]


def test_shards_are_about_as_big() -> None:
    names = [f"s3://bucket/videos/{i:04}.mp4" for i in range(3000)]
    assert all(900 <= sum(Shard(k, 3).has(name) for name in names) <= 1100 for k in (1, 2, 3))


def test_a_shard_may_be_empty(folder: Path) -> None:
    found = [len(list_inputs([str(folder / "a.mp4")], shard=Shard(k, 2)).sources) for k in (1, 2)]
    assert sorted(found) == [0, 1]


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "1/0", "a/b", "-1/2", "1/2/3"])
def test_no_shard(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard takes K/N with K from 1 to N"):
        Shard.parse(text)


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
        ("uri,uri\na.mp4,b.mp4\n", "two columns of one name"),
        ("uri,x\na.mp4,1\n,2\n", "no 'uri' in row 2"),
        ("", "cannot read the manifest"),
    ],
)
def test_bad_manifests_are_one_clear_sentence(tmp_path: Path, content: str, message: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(content)
    with pytest.raises(SourceError, match=message):
        list_inputs([str(manifest)])


def test_a_bad_row_of_a_manifest_costs_only_itself(folder: Path) -> None:
    rows: list[dict[str, object]] = [{"uri": "a.mp4"}, {"uri": "nosuch://key:secret@x/y.mp4"}, {"uri": "b\0.mp4"}]
    listing = list_inputs([str(write_manifest(folder / "list.parquet", rows))])
    assert [source.status for source in listing.sources] == [None, Status.UNSUPPORTED, Status.MISSING]
    assert "secret" not in f"{listing.sources[1].input} {listing.sources[1].error}"


def test_odd_manifest_columns_become_plain(folder: Path) -> None:
    table = pa.table(
        {
            "uri": ["a.mp4", "b.MKV"],
            "speaker": pa.array(["anna", "ben"]).dictionary_encode(),
            "tags": [["x"], None],
            "take": pa.array([1, 2], pa.uint8()),
        }
    )
    pq.write_table(table, folder / "list.parquet")
    listing = list_inputs([str(folder / "list.parquet")])
    plain = pa.schema([("speaker", pa.string()), ("tags", pa.string()), ("take", pa.int64())])
    assert listing.extra_schema == plain
    assert listing.extras[listing.sources[0].video_id] == {"speaker": "anna", "tags": '["x"]', "take": 1}


def test_a_manifest_gives_its_columns_also_to_files_that_were_named_before(folder: Path) -> None:
    manifest = write_manifest(folder / "list.csv", [{"uri": "a.mp4", "take": 1}])
    listing = list_inputs([str(folder / "a.mp4"), str(manifest)])
    assert [listing.extras[source.video_id] for source in listing.sources] == [{"take": 1}]


def test_links_are_followed_once_and_broken_ones_are_rows(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.mp4").write_bytes(b"x")
    (folder / "link.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (folder / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    (folder / "itself.mp4").symlink_to(folder / "itself.mp4")
    (folder / "sub" / "upwards").symlink_to(folder)
    status = {Path(source.input).name: source.status for source in list_inputs([str(folder)]).sources}
    assert (status["link.mp4"], status["nowhere.mp4"], status["itself.mp4"]) == (None, Status.MISSING, Status.MISSING)
    assert len(status) == 8


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"new\nline.mp4", b'it\'s [a] "quote".mp4', "日本 🎬.mp4".encode()])
def test_any_name_can_be_listed_and_opened_again(tmp_path: Path, name: bytes) -> None:
    with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
        file.write(b"x")
    (source,) = list_inputs([str(tmp_path)]).sources
    source.input.encode()  # can be written to Parquet
    source.uri.encode()
    assert os.fsencode(LocalFiles().path(source)).endswith(name)


def test_the_output_folder_is_no_input(folder: Path) -> None:
    (folder / "out" / "labels").mkdir(parents=True)
    (folder / "out" / "labels" / "part-1.parquet").write_bytes(b"x")
    listing = list_inputs([str(folder)], outside=str(folder / "out"))
    assert len(listing.sources) == 5


@pytest.mark.parametrize(
    "uri",
    ["nosuch://user:secret@host/a.mp4", "s3://key:secret@bucket/a b.mp4", "s3://KEY:abc/secret@bucket/a.mp4"],
)
def test_errors_about_uris_do_not_repeat_credentials(uri: str) -> None:
    with pytest.raises(SourceError, match="cannot open") as caught:
        list_inputs([uri])
    assert "secret" not in str(caught.value)


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
