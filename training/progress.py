"""`log.csv` of a fold, as it grows."""

import csv
from pathlib import Path

from training.fold import LOG, EpochReport


def read_log(folder: Path) -> list[EpochReport]:
    """The epochs that a fold has finished; none where it has not begun."""
    try:
        with (folder / LOG).open(newline="") as file:
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
