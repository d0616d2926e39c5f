"""`python jobs/composite.py --faces CSV --voices CSV -o FOLDER`: clips of a face and a voice of the same emotion."""

from pathlib import Path
from typing import Annotated

import typer

from emolabel.cli import console, run_app
from training.composite import make_composites
from training.datasets.manifest import read_manifest, write_manifest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def composite(
    faces: Annotated[Path, typer.Option(help="Manifest of pictures of faces.")],
    voices: Annotated[list[Path], typer.Option(help="Manifest of recordings; may be given several times.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the clips and their manifest.csv.")],
    per_class: Annotated[int, typer.Option(help="Clips of each emotion, at most.")] = 40,
    split: Annotated[str | None, typer.Option(help="Only faces of this split.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
) -> None:
    """Make composite clips: they stand in for an audio-visual data set where there is none."""
    pictures = [sample for sample in read_manifest(faces) if split is None or sample.split == split]
    recordings = [sample for path in voices for sample in read_manifest(path)]
    made = make_composites(pictures, recordings, out, per_class, seed)
    write_manifest(made, out / "manifest.csv")
    console.print(
        f"{len(made.samples):,} clips, {len({s.subject for s in made.samples})} voices: {out / 'manifest.csv'}"
    )


if __name__ == "__main__":
    run_app(app)
