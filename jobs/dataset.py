"""`python jobs/dataset.py NAME ROOT -o manifest.csv`: from a data set as distributed to a manifest for training."""

from pathlib import Path
from typing import Annotated

import typer

from emolabel.cli import console, run_app
from emolabel.errors import TrainingError
from training.datasets.afew import read_afew
from training.datasets.any_manifest import read_any_manifest
from training.datasets.cremad import read_cremad
from training.datasets.duplicates import Drops
from training.datasets.emodb import read_emodb
from training.datasets.enterface05 import read_enterface05
from training.datasets.fer2013 import read_fer2013
from training.datasets.manifest import DataSet, write_manifest
from training.datasets.ravdess import Modality, read_ravdess
from training.datasets.registry import PUBLISHED
from training.datasets.summary import summary

app = typer.Typer(
    help="From a labelled data set as it is distributed to one manifest (CSV), for `jobs/prepare.py`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Root = Annotated[Path, typer.Argument(help="Folder of the data set.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Manifest to write.")]


@app.command()
def afew(
    root: Root,
    out: Out,
    subjects: Annotated[Path | None, typer.Option(help="CSV with the columns clip and subject.")] = None,
) -> None:
    """AFEW (EmotiW): clips in Train/Angry, Val/Angry... Without --subjects nobody is known."""
    finish(read_afew(root, subjects), out)


@app.command()
def cremad(
    root: Root,
    out: Out,
    suffix: Annotated[str | None, typer.Option(help="Which form of each clip: wav, flv, mp4...")] = None,
) -> None:
    """CREMA-D: files such as 1001_DFA_ANG_XX.wav or .flv."""
    finish(read_cremad(root, suffix), out)


@app.command()
def emodb(root: Root, out: Out) -> None:
    """EMO-DB: files such as 03a01Fa.wav. Boredom is dropped."""
    finish(read_emodb(root), out)


@app.command()
def enterface05(root: Root, out: Out) -> None:
    """eNTERFACE'05: clips in 'subject 1/anger/sentence 1'."""
    finish(read_enterface05(root), out)


@app.command()
def fer2013(
    root: Annotated[Path, typer.Argument(help="Folder of the data set, or fer2013.csv, or a tar archive.")],
    out: Out,
    unpack: Annotated[Path | None, typer.Option(help="Where the images of a CSV or an archive go.")] = None,
    drop_blanks: Annotated[bool, typer.Option("--drop-blanks", help="Drop images that show nothing.")] = False,
    drop_conflicts: Annotated[
        bool, typer.Option("--drop-conflicts", help="Drop equal images that have several labels, all of them.")
    ] = False,
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Drop validation and test images that are in an earlier split too.")
    ] = False,
    drop_repeats: Annotated[
        bool, typer.Option("--drop-repeats", help="Drop all but the first of equal images in a split.")
    ] = False,
    clean: Annotated[bool, typer.Option("--clean", help="All four.")] = False,
) -> None:
    """FER-2013: the contest's CSV, or image folders such as train/angry."""
    drops = Drops(clean or drop_blanks, clean or drop_conflicts, clean or drop_leaks, clean or drop_repeats)
    finish(read_fer2013(root, unpack, drops), out)


@app.command()
def ravdess(
    root: Root,
    out: Out,
    modality: Annotated[Modality | None, typer.Option(help="Which form of each take.")] = None,
    song: Annotated[bool, typer.Option("--song", help="Also what is sung.")] = False,
    calm_as_neutral: Annotated[
        bool, typer.Option("--calm-as-neutral", help="Count calm as neutral instead of dropping it.")
    ] = False,
) -> None:
    """RAVDESS: files such as Actor_01/03-01-05-01-02-01-01.wav. Calm is dropped."""
    finish(read_ravdess(root, modality, song, calm_as_neutral), out)
    if calm_as_neutral:
        console.print("calm counts as neutral")


@app.command()
def manifest(
    root: Annotated[Path, typer.Argument(metavar="CSV", help="Table with the columns uri and label.")],
    out: Out,
    label: Annotated[
        list[str] | None, typer.Option(metavar="THEIRS=OURS", help="Name of a label; may be given several times.")
    ] = None,
    drop_label: Annotated[
        list[str] | None, typer.Option(help="Leave this label out; may be given several times.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the data set (default: that of the file).")] = None,
) -> None:
    """Any other set: a CSV with uri and label, and where known subject, split, start_s, end_s."""
    finish(read_any_manifest(root, dict(map(_pair, label or ())), drop_label or (), name), out)


def _pair(text: str) -> tuple[str, str]:
    theirs, equals, ours = text.partition("=")
    if not (theirs and equals and ours):
        raise TrainingError(f"--label takes THEIRS=OURS, such as --label joy=happy, got {text!r}")
    return theirs, ours


def finish(dataset: DataSet, out: Path) -> None:
    """Write the manifest and say what is in it."""
    write_manifest(dataset, out)
    for part in summary(dataset, PUBLISHED.get(dataset.name)):
        console.print(part)
    console.print(f"{out}: {len(dataset.samples):,} samples", markup=False)


if __name__ == "__main__":
    run_app(app)
