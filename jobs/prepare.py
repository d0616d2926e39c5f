"""`python jobs/prepare.py MANIFEST... -o OUT`: store face crops and sound of labelled clips, for training."""

from pathlib import Path
from typing import Annotated

import typer

from emolabel.cli import console, run_app
from emolabel.config import PreparedFaces
from emolabel.errors import ConfigError, Status
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec, SliceSampling

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def prepare(
    inputs: Annotated[
        list[str], typer.Argument(metavar="MANIFEST...", help="Manifests; also files, folders, globs, URIs.")
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Output folder or URI.")],
    model: Annotated[
        str | None, typer.Option(help="Bundle that says what is stored, in place of the options below.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Training settings (TOML) whose model says what is stored, likewise.")
    ] = None,
    face: Annotated[bool, typer.Option(help="Store face crops.")] = True,
    face_px: Annotated[int, typer.Option(help="Side of a face crop.")] = 160,
    face_frames: Annotated[int, typer.Option(help="Face crops of each clip, evenly spaced.")] = 48,
    motion: Annotated[
        bool | None,
        typer.Option(help="Store slices of consecutive face crops (default: as --settings or --model say)."),
    ] = None,
    motion_px: Annotated[int, typer.Option(help="Side of a crop in a slice.")] = 112,
    motion_slices: Annotated[int, typer.Option(help="Slices of each clip, evenly spaced.")] = 32,
    motion_length: Annotated[int, typer.Option(help="Crops of each slice.")] = 16,
    margin: Annotated[float, typer.Option(help="Part of a crop's side outside the face's box.")] = 0.2,
    square: Annotated[bool, typer.Option(help="Cut squares, in place of stretching boxes to them.")] = False,
    audio: Annotated[bool, typer.Option(help="Store sound.")] = True,
    audio_hz: Annotated[int, typer.Option(help="Its sample rate.")] = 22_050,
    max_audio: Annotated[float, typer.Option(help="Seconds of sound of each clip, from its middle.")] = 30.0,
    faces: Annotated[
        PreparedFaces, typer.Option(help="Search for the biggest face, or take the whole frame for one.")
    ] = "detect",
    detector_device: Annotated[str, typer.Option(help="Of the face detector: cpu or cuda.")] = "cpu",
    workers: Annotated[int | None, typer.Option(help="Decoding workers (default: one for each CPU).")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (default: $RAY_ADDRESS, or an embedded local Ray).")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take at most this many inputs.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the output folder afresh.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in earlier runs.")
    ] = False,
) -> None:
    """Store what a model would see and hear of each clip. Run the same command again to finish what is missing."""
    from emolabel.pipeline.annotate import RunOptions
    from emolabel.pipeline.prepare import PrepareSettings, prepare_inputs
    from emolabel.summary import live_progress, print_summary

    spec = InputSpec(
        face=FrameSampling(face_frames, face_px, margin, square) if face else None,
        motion=SliceSampling(motion_slices, motion_length, motion_px, margin, square) if motion else None,
        audio=AudioSampling(audio_hz) if audio else None,
    )
    wanted = _spec_of(model, settings)
    if wanted is not None:
        spec = InputSpec(
            face=wanted.face if face else None,
            motion=wanted.motion if motion in (None, True) else None,
            audio=wanted.audio if audio else None,
        )
    options = RunOptions(
        detector_device=detector_device,
        workers=workers,
        address=address,
        limit=limit,
        overwrite=overwrite,
        retry=frozenset(status for status in Status if status.failure and retry_failed),
    )
    with live_progress(console) as on_progress:
        progress = prepare_inputs(inputs, out, PrepareSettings(spec, faces, max_audio), options, on_progress)
    print_summary(console, progress)


def _spec_of(model: str | None, settings: Path | None) -> InputSpec | None:
    """What a bundle or the model of some settings looks at; None where neither is given."""
    if model is not None and settings is not None:
        raise ConfigError("give --model or --settings, not both")
    if settings is not None:
        from training.settings import read_settings

        return read_settings(settings).model.input_spec
    if model is not None:
        from emolabel.models.bundle import load_bundle

        return load_bundle(model).model.input_spec
    return None


if __name__ == "__main__":
    run_app(app)
