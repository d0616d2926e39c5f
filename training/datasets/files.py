"""Folders, tables and messages that all adapters need."""

import csv
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError

_NAMED: Final = 5


def some(names: Iterable[object]) -> str:
    """The first few of many, for a message.

    >>> some("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    shown = [str(name) for name in names]
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more


def folder_of(path: Path) -> Path:
    """The absolute path of a folder.

    Raises:
        TrainingError: it is none.
    """
    if not path.is_dir():
        raise TrainingError(f"{path} is {'no folder' if path.exists() else 'not there'}")
    return Path(os.path.abspath(path))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What storage refuses meanwhile becomes our error, with the path.

    Raises:
        TrainingError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror}") from error


def folders_in(folder: Path) -> list[Path]:
    """Its folders by name; hidden ones are left out."""
    with reading(folder):
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Its own files with one of these suffixes (lower case, with the dot) by name; hidden ones are left out."""
    with reading(folder):
        return sorted(path for path in folder.iterdir() if _wanted(path, suffixes) and path.is_file())


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files at any depth with one of these suffixes. Links to folders are followed, each folder once."""
    found, seen = [], set()
    with reading(folder):
        for at, inner, names in os.walk(folder, onerror=_raise, followlinks=True):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            real = os.path.realpath(at)
            if real in seen:
                inner.clear()
                continue
            seen.add(real)
            found += [Path(at, name) for name in names if _wanted(Path(name), suffixes)]
    return sorted(found)


def read_table(path: Path, columns: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV with a header, one by one.

    Yields:
        The number of the row's last line in the file, and its cells by column. Empty lines are left out.

    Raises:
        TrainingError: it cannot be read, lacks one of `columns`, or a row has another number of cells.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                raise TrainingError(f"{path} has no column {some(missing)}; it has: {', '.join(header) or 'nothing'}")
            if len(set(header)) != len(header):
                raise TrainingError(f"{path} has two columns of one name; it has: {', '.join(header)}")
            for cells in reader:
                if cells and len(cells) != len(header):
                    raise TrainingError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells under {len(header)} column names"
                    )
                if cells:
                    yield reader.line_num, dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"cannot read the table {path}: {error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside and rename it: it is there whole or not at all. Folders on the way are made.

    Raises:
        TrainingError: the place cannot be written.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell of
            aside.unlink()
        raise TrainingError(f"cannot write {path}: {error.strerror}") from error


def _wanted(path: Path, suffixes: Collection[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def _raise(error: OSError) -> None:
    raise error  # os.walk would leave the folder out and say nothing
