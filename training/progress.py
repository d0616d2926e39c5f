"""`log.csv` of a fold, as it grows."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_LOG = "log.csv"


@dataclass(frozen=True)
class EpochReport:
    """One line of `log.csv`."""

    stage: str
    """`face`, `motion`, `audio` or `fusion`."""
    epoch: int
    """From 1."""
    n_epochs: int
    loss: float
    train_accuracy: float
    """On what was shown, augmentation and dropout included."""
    validation_loss: float | None
    """On the held-out samples; None where there are none."""
    validation_accuracy: float | None
    """Of the mean over the frames, slices or pieces of each."""
    seconds: float


def write_log(folder: Path, reports: Sequence[EpochReport]) -> None:
    """Replace the log in one step: whoever follows it must not see half of it."""
    draft = folder / f".{_LOG}"
    with draft.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(EpochReport)])
        writer.writeheader()
        writer.writerows(asdict(report) for report in reports)
    draft.replace(folder / _LOG)


def read_log(folder: Path) -> list[EpochReport]:
    """The epochs that a fold has finished; none where it has not begun."""
    try:
        with (folder / _LOG).open(newline="") as file:
            return [_report(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def _report(row: dict[str, str]) -> EpochReport:
    def number(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    return EpochReport(
        stage=row["stage"],
        epoch=int(row["epoch"]),
        n_epochs=int(row["n_epochs"]),
        loss=float(row["loss"]),
        train_accuracy=float(row["train_accuracy"]),
        validation_loss=number("validation_loss"),
        validation_accuracy=number("validation_accuracy"),
        seconds=float(row["seconds"]),
    )
