"""Folders are listed whole: links followed, no file twice, nothing left out in silence."""

from pathlib import Path

import pytest

from emolabel.errors import TrainingError
from tests.training.datasets.conftest import Make
from training.datasets.files import files_below, files_in, write_whole


def test_links_are_followed_and_each_folder_is_read_once(tmp_path: Path, make: Make) -> None:
    make("disk/a.avi")
    make("disk/inner/B.AVI")
    make("set/.hidden/c.avi")
    make("set/._d.avi")
    (tmp_path / "set" / "first").symlink_to(tmp_path / "disk")
    (tmp_path / "set" / "second").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "inner" / "loop").symlink_to(tmp_path / "set")
    names = [path.relative_to(tmp_path / "set").as_posix() for path in files_below(tmp_path / "set", (".avi",))]
    assert names == ["first/a.avi", "first/inner/B.AVI"]


def test_what_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    for listing in (files_below, files_in):
        with pytest.raises(TrainingError, match=r"cannot read .*file: Not a directory"):
            listing(path, (".avi",))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "manifest.csv"
    write_whole(target, b"first")
    write_whole(target, b"second")
    assert target.read_bytes() == b"second"
    (tmp_path / "folder" / "manifest.csv").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"cannot write .*manifest\.csv: Is a directory"):
        write_whole(tmp_path / "folder" / "manifest.csv", b"x")
    for folder in ("new", "folder"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["manifest.csv"]
