"""A table of one's own: names are mapped, nothing unknown passes."""

from pathlib import Path

import pytest

from emolabel.errors import TrainingError
from tests.training.datasets.conftest import Make
from training.datasets.any_manifest import read_any_manifest
from training.datasets.manifest import Sample, read_manifest, write_manifest


def test_labels_splits_and_times(tmp_path: Path, make: Make) -> None:
    a, b = make("clips/a.avi"), make("clips/b.avi")
    table = tmp_path / "mine.csv"
    table.write_text(
        "label,uri,note,split,subject,start_s,end_s\n"
        "Anger,clips/a.avi,x,Training,01,,2.5\n"
        f"wut,{b},x,dev,02,1,\n"
        "JOY,s3://bucket/c.avi,x,test,,,\n"
        "contempt,clips/gone.avi,x,test,,,\n"
    )
    dataset = read_any_manifest(table, {"Wut": "angry"}, ["Contempt"])
    assert dataset.name == "mine"
    assert dataset.samples == (
        Sample(str(a), "angry", "01", "train", None, 2.5, "mine"),
        Sample(str(b), "angry", "02", "validation", 1.0, None, "mine"),
        Sample("s3://bucket/c.avi", "happy", "", "test", None, None, "mine"),
    )
    assert [(gone.uri, gone.split, gone.reason) for gone in dataset.dropped] == [
        ("clips/gone.avi", "test", "label: contempt")
    ]


def test_a_written_manifest_is_a_table_like_any_other(tmp_path: Path, make: Make) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(f"uri,label\n{make('a.avi')},sadness\n")
    write_manifest(read_any_manifest(table, name="first"), tmp_path / "manifest.csv")
    again = read_any_manifest(tmp_path / "manifest.csv", name="second")
    assert again.samples == read_manifest(tmp_path / "manifest.csv")
    assert again.samples[0].dataset == "first"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "uri,label\na.avi,contempt\na.avi,calm\na.avi,calm\n",
            r"'contempt' \(line 2\), 'calm' \(line 3\);",
        ),
        ("uri,label\na.avi,sad\nb.avi,sad\n", r"lists 1 files that are not there: .*b\.avi"),
        ("uri,label,split\na.avi,sad,holdout\n", "line 2: unknown split 'holdout'"),
        ("uri,label\na.avi,sad\na.avi,happy\n", r"mine has samples twice: .*a\.avi"),
        ("path,label\na.avi,sad\n", "has no column uri; it has: path, label"),
        ("uri,label,label\n", "has two columns of one name"),
        ("uri,label\n", "has no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, make: Make, content: str, message: str) -> None:
    make("a.avi")
    table = tmp_path / "mine.csv"
    table.write_text(content)
    with pytest.raises(TrainingError, match=message):
        read_any_manifest(table)


def test_labels_are_mapped_to_the_seven_only(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not to boredom"):
        read_any_manifest(tmp_path / "mine.csv", {"langeweile": "boredom"})
