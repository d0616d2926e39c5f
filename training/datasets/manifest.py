"""The manifest: labelled clips of any data set in one CSV, the only thing that the rest of training reads."""

import csv
import io
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from training.datasets.files import read_table, some, write_whole

SPLITS: Final = ("train", "validation", "test")
COLUMNS: Final = ("uri", "label", "subject", "split", "start_s", "end_s", "dataset")


@dataclass(frozen=True)
class Sample:
    """One labelled clip, image or recording.

    Raises:
        TrainingError: a field that makes no sense.
    """

    uri: str
    """An absolute path, or a URI."""
    label: str
    """One of `emolabel.labels.EMOTIONS`."""
    subject: str = ""
    """Who is seen or heard, with the data set in front so that two sets share no name; empty where it is unknown."""
    split: str = ""
    """One of `SPLITS` as distributed; empty where the set has none."""
    start_s: float | None = None
    """Where in the file it starts, in seconds; none means where the file starts."""
    end_s: float | None = None
    """Where it ends; none means where the file ends."""
    dataset: str = ""

    def __post_init__(self) -> None:
        _require(bool(self.uri), "a sample needs a uri")
        _require(is_remote(self.uri) or os.path.isabs(self.uri), f"a sample needs an absolute path, got {self.uri!r}")
        _require(self.label in EMOTIONS, f"unknown label {self.label!r}; labels are: {', '.join(EMOTIONS)}")
        _require(
            self.split in ("", *SPLITS), f"unknown split {self.split!r}; splits are: {', '.join(SPLITS)}, or nothing"
        )
        start, end = self.start_s or 0.0, math.inf if self.end_s is None else self.end_s
        sound = 0 <= start < end and math.isfinite(start) and (self.end_s is None or math.isfinite(end))
        _require(sound, f"no stretch of time: from {self.start_s} s to {self.end_s} s")


@dataclass(frozen=True)
class Dropped:
    """Something that the set holds and the manifest does not."""

    uri: str
    split: str
    reason: str
    """A few words, the same for all that go for this reason."""


@dataclass(frozen=True)
class DataSet:
    """What an adapter found.

    Raises:
        TrainingError: the same stretch of the same file twice.
    """

    name: str
    samples: tuple[Sample, ...]
    dropped: tuple[Dropped, ...] = ()

    def __post_init__(self) -> None:
        counts = Counter((sample.uri, sample.start_s, sample.end_s) for sample in self.samples)
        twice = [uri for (uri, _, _), count in counts.items() if count > 1]
        _require(not twice, f"{self.name} has samples twice: {some(twice)}")


def write_manifest(dataset: DataSet, path: Path) -> None:
    """Write the samples as CSV with `COLUMNS`, whole or not at all; what was dropped is not in it.

    A file below the manifest's folder is written relative to it, so that the two can be moved together.

    Raises:
        TrainingError: there are no samples, a file's name is no plain text, or the place cannot be written.
    """
    _require(bool(dataset.samples), f"{dataset.name} has no samples left: {len(dataset.dropped)} were dropped")
    folder = Path(os.path.abspath(path)).parent
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(sample, folder) for sample in dataset.samples)
    write_whole(path, text.getvalue().encode())


def read_manifest(path: Path) -> tuple[Sample, ...]:
    """Read what `write_manifest` wrote, with relative files made absolute.

    Raises:
        TrainingError: it cannot be read, lacks a column, or has a row that is no sample; the message says which.
    """
    return tuple(sample_of(row, path, line) for line, row in read_table(path, COLUMNS))


def sample_of(row: dict[str, str], path: Path, line: int) -> Sample:
    """The sample in a row of a manifest.

    Args:
        row: at least `uri` and `label`; other columns of `COLUMNS` may be absent.
        path: of the manifest; relative files start at its folder.
        line: of the row, for the message.

    Raises:
        TrainingError: the row is no sample.
    """
    try:
        return Sample(
            uri=_absolute(row["uri"], path),
            label=row["label"],
            subject=row.get("subject", ""),
            split=row.get("split", ""),
            start_s=_seconds(row.get("start_s", "")),
            end_s=_seconds(row.get("end_s", "")),
            dataset=row.get("dataset", ""),
        )
    except TrainingError as error:
        raise TrainingError(f"{path}, line {line}: {error}") from None


def is_remote(uri: str) -> bool:
    """Whether it is a URI and no path."""
    return "://" in uri


def _row(sample: Sample, folder: Path) -> list[str]:
    uri = sample.uri
    if not is_remote(uri) and Path(uri).is_relative_to(folder):
        uri = Path(uri).relative_to(folder).as_posix()
    plain = not any(letter in "\r\n" or "\ud800" <= letter <= "\udfff" for letter in uri)
    _require(plain, f"a file name that is not plain text cannot stand in a manifest: {uri!r}")
    times = ["" if seconds is None else repr(seconds) for seconds in (sample.start_s, sample.end_s)]
    return [uri, sample.label, sample.subject, sample.split, *times, sample.dataset]


def _absolute(uri: str, path: Path) -> str:
    if not uri or is_remote(uri):
        return uri
    return os.path.abspath(path.parent / uri)


def _seconds(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise TrainingError(f"{text!r} is no number of seconds") from None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TrainingError(message)
