"""`python jobs/evaluate.py LABELS... --truth MANIFEST -o REPORT`: how good labels are."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from emolabel.cli import console, run_app
from training.evaluation.report import evaluate as compare
from training.evaluation.report import write_report
from training.evaluation.summary import print_sections

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class By(str, Enum):
    """What figures can be broken down by."""

    DATASET = "dataset"
    SUBJECT = "subject"
    SPLIT = "split"
    FOLD = "fold"


@app.command()
def evaluate(
    labels: Annotated[
        list[str],
        typer.Argument(
            metavar="LABELS...",
            help="Output folders of `emolabel annotate`, training's output folders, or their predictions.parquet.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")],
    truth: Annotated[
        str | None,
        typer.Option(help="Manifest with uri and label; without it, the label that rides along counts."),
    ] = None,
    by: Annotated[
        list[By] | None,
        typer.Option(help="Break the figures down by this, or several; without it, by all that is known."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Take the clips of this split alone, such as validation.")] = None,
) -> None:
    """Compare labels with the truth: accuracy, UAR, confusions, folds, calibration."""
    evaluation = compare(labels, truth, by=[column.value for column in by] if by else None, split=split)
    write_report(evaluation, out)
    print_sections(console, evaluation.sections)
    console.print(f"\nreport: {out}/summary.md, confusion.png, reliability.png, metrics.parquet", markup=False)


if __name__ == "__main__":
    run_app(app)
