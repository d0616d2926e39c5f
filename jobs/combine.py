"""`python jobs/combine.py --face BUNDLE --audio BUNDLE -o OUT`: one bundle of branches that were trained apart."""

import json
from pathlib import Path
from typing import Annotated

import typer

from emolabel.cli import console, run_app
from emolabel.errors import ConfigError
from emolabel.models.combine import Rule

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_BUNDLE = "Bundle that the {} branch is taken from."
_HELD_OUT = "Predictions of samples that it did not learn from: training's output folder. Repeatable."

_LEVEL = "0: classes as frequent as among its held-out samples; 1: as if all were equally frequent."


@app.command()
def combine(
    face: Annotated[str, typer.Option(help=_BUNDLE.format("face"))],
    face_held_out: Annotated[list[str], typer.Option(help=_HELD_OUT)],
    audio: Annotated[str, typer.Option(help=_BUNDLE.format("audio"))],
    audio_held_out: Annotated[list[str], typer.Option(help=_HELD_OUT)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    name: Annotated[str, typer.Option(help="What rows will say.")],
    rule: Annotated[
        Rule, typer.Option(help="mean or log_mean: of the branches' probabilities, or their logarithms.")
    ] = "log_mean",
    face_level: Annotated[float, typer.Option(help=_LEVEL)] = 0.0,
    audio_level: Annotated[float, typer.Option(help=_LEVEL)] = 0.0,
    clips: Annotated[
        list[str] | None,
        typer.Option(
            help="Labels of clips that no branch learnt from, with their truth, for the fused calibration. Repeatable."
        ),
    ] = None,
    licence: Annotated[Path | None, typer.Option(help="JSON file about the terms of the weights.")] = None,
) -> None:
    """Combine a face and an audio branch at decision level: the calibrated mean of what they say."""
    from training.combining import Apart, combine_branches

    try:
        terms = None if licence is None else json.loads(licence.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {licence}: {error}") from error
    branches = {
        "face": Apart(face, tuple(face_held_out), face_level),
        "audio": Apart(audio, tuple(audio_held_out), audio_level),
    }
    bundle = combine_branches(branches, out, name=name, rule=rule, clips=clips or (), licence=terms)
    decision = bundle.config.config["decision"]
    for branch in branches:
        console.print(f"{branch}: temperature {decision[branch]['temperature']:.3f}")
    console.print(f"fused: temperature {decision['temperature']:.3f}\nbundle: {out}", markup=False)


if __name__ == "__main__":
    run_app(app)
