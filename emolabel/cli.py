"""The command line. `jobs/` calls the same functions, so a laptop and a cluster take the same arguments."""

import gc
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from emolabel.config import DEFAULT_MODEL, FaceSettings, FacesMode, Precision, Settings, WindowPolicy
from emolabel.errors import EmolabelError, Status
from emolabel.version import __version__

app = typer.Typer(
    help="Emotion labels for large video collections: every input accounted for, typed Parquet out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bundle_app = typer.Typer(help="Model bundles: a folder with config.json and model.safetensors.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

EXIT_STRICT = 3
EXIT_STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: the same command goes on."""


def main() -> None:
    """The `emolabel` command."""
    run_app(app)


def run_app(command: typer.Typer) -> None:
    """Run a command line; our own errors are one readable line and exit status 1, never a traceback."""
    signal.signal(signal.SIGTERM, _stop)
    # On the way out, what still asks Ray for something must not start another one.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        command()
    except EmolabelError as error:
        _give_up(str(error))
    except KeyboardInterrupt:
        _give_up("interrupted. Finished work is kept: run the same command again to go on")
    finally:
        gc.freeze()  # the process ends: looking through all that it has loaded once more takes a second


def _stop(*_: object) -> NoReturn:
    """Of SIGTERM: what is finished gets written on the way out. No second one shall disturb that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("emolabel: stopped. Finished work is kept: run the same command again to go on", file=sys.stderr)
    sys.exit(EXIT_STOPPED)


def _give_up(message: str) -> NoReturn:
    print(f"emolabel: {message}", file=sys.stderr)
    sys.exit(1)


@app.command()
def annotate(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Files, folders, globs, manifests with a `uri` column, URIs."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Output folder or URI.")],
    model: Annotated[str, typer.Option(help="Bundle: built-in name, folder, or Hugging Face hub id.")] = DEFAULT_MODEL,
    window: Annotated[float, typer.Option(help="Seconds per window.")] = 5.0,
    stride: Annotated[float | None, typer.Option(help="Seconds from window to window (default: the window).")] = None,
    whole_clip: Annotated[bool, typer.Option("--whole-clip", help="One window per input.")] = False,
    faces: Annotated[FacesMode, typer.Option(help="The biggest face, every one, or the whole frame.")] = "biggest",
    detect_every: Annotated[
        int, typer.Option(help="Search every n-th frame for faces, and follow them in between; 1: search all.")
    ] = FaceSettings.detect_every,
    precision: Annotated[
        Precision,
        typer.Option(help="For pictures. bfloat16 is quicker where hardware has it; scores change a little."),
    ] = "float32",
    device: Annotated[str, typer.Option(help="Of the model: auto, cpu or cuda.")] = "auto",
    detector_device: Annotated[str, typer.Option(help="Of the face detector: cpu or cuda.")] = "cpu",
    batch_size: Annotated[int, typer.Option(help="Windows that go through a GPU's model at a time.")] = 16,
    workers: Annotated[int | None, typer.Option(help="Workers: one for each CPU by default.")] = None,
    gpus: Annotated[int | None, typer.Option(help="Models on GPUs, one on each (default: all GPUs).")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (default: $RAY_ADDRESS, or an embedded local Ray).")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take at most this many inputs.")] = None,
    shard: Annotated[
        str, typer.Option(metavar="K/N", help="Take the K-th of N parts, for N jobs that share a collection.")
    ] = "1/1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how long it may take.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the output folder afresh.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in earlier runs, all of it.")
    ] = False,
    retry_status: Annotated[
        list[Status] | None, typer.Option(help="Try again what failed with this status; may be given several times.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 3 when any input failed.")] = False,
) -> None:
    """Label videos. Run the same command again to finish what is missing."""
    from emolabel.pipeline.annotate import RunOptions, annotate_inputs
    from emolabel.pipeline.shard import Shard
    from emolabel.summary import live_progress, print_estimate, print_summary

    settings = Settings(
        windows=WindowPolicy(length_s=None if whole_clip else window, stride_s=stride),
        faces=FaceSettings(mode=faces, detect_every=detect_every),
        precision=precision,
    )
    retry = frozenset(status for status in Status if status.failure) if retry_failed else frozenset(retry_status or ())
    options = RunOptions(
        device=device,
        detector_device=detector_device,
        batch_size=batch_size,
        workers=workers,
        gpus=gpus,
        address=address,
        limit=limit,
        shard=Shard.parse(shard),
        overwrite=overwrite,
        retry=retry,
    )
    if dry_run:
        from emolabel.pipeline.estimate import estimate_run

        print_estimate(console, estimate_run(inputs, out, model, settings, options))
        return
    with live_progress(console) as on_progress:
        progress = annotate_inputs(inputs, out, model, settings, options, on_progress)
    print_summary(console, progress)
    if strict and progress.n_failed + progress.n_failed_before:
        raise typer.Exit(EXIT_STRICT)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the clips and the labels go.")] = Path("demo-out"),
) -> None:
    """Make a few clips from portraits that ship inside installed packages, label them, and show the labels."""
    from emolabel.demo import make_demo_clips
    from emolabel.summary import print_labels

    clips, labels = folder / "clips", folder / "labels"
    make_demo_clips(clips)
    annotate(inputs=[str(clips)], out=str(labels))
    print_labels(console, labels)


@bundle_app.command("new")
def bundle_new(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    kind: Annotated[str, typer.Option(help="untrained (face and audio) or untrained-full (all three branches).")] = (
        "untrained"
    ),
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 2017,
    name: Annotated[str | None, typer.Option(help="What rows will say (default: the kind).")] = None,
) -> None:
    """Write a bundle with random weights: where training starts."""
    from emolabel.models.bundle import create_bundle

    bundle = create_bundle(kind, out, seed=seed, name=name)
    console.print(f"{out}: {bundle.name}, sha256 {bundle.sha256}")


@bundle_app.command("show")
def bundle_show(model: Annotated[str, typer.Argument(help="Built-in name, folder, or hub id.")]) -> None:
    """Say what a bundle is made of."""
    from emolabel.models.bundle import load_bundle
    from emolabel.models.describe import describe_bundle

    console.print(describe_bundle(load_bundle(model)), markup=False)


@bundle_app.command("ensemble")
def bundle_ensemble(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    members: Annotated[list[str], typer.Argument(metavar="MEMBER...", help="Bundles of the same model.")],
    name: Annotated[str, typer.Option(help="What rows will say.")] = "ensemble",
) -> None:
    """Write a bundle that averages several, and says of each window how far they agree."""
    from emolabel.models.ensemble.bundle import make_ensemble

    bundle = make_ensemble(members, out, name=name)
    console.print(f"{out}: {bundle.name}, sha256 {bundle.sha256}")


@bundle_app.command("import")
def bundle_import(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    face: Annotated[
        Path | None,
        typer.Option(help="facenet-pytorch's 20180402-114759-vggface2.pt or casia-webface, or timm weights."),
    ] = None,
    motion: Annotated[Path | None, typer.Option(help="The PyTorch port of C3D Sports-1M.")] = None,
    audio: Annotated[Path | None, typer.Option(help="SoundNet-8, .npy or .pth.")] = None,
    face_sha256: Annotated[str | None, typer.Option(help="Refuse the file if its SHA-256 is another.")] = None,
    motion_sha256: Annotated[str | None, typer.Option(help="The same for --motion.")] = None,
    audio_sha256: Annotated[str | None, typer.Option(help="The same for --audio.")] = None,
    face_backbone: Annotated[str, typer.Option(help="Its network: inception_resnet_v1, or a timm name.")] = (
        "inception_resnet_v1"
    ),
    audio_padding: Annotated[
        Literal["same", "original"], typer.Option(help="same (the paper's 22x128) or original (SoundNet's own).")
    ] = "same",
    name: Annotated[str, typer.Option(help="What rows will say.")] = "untrained-pini2017",
) -> None:
    """Build a bundle from published pretrained files. Nothing in them is executed. What they lack stays untrained."""
    from emolabel.models.published import Published, import_published

    def published(path: Path | None, sha256: str | None) -> Published | None:
        return None if path is None else Published(path, sha256)

    bundle = import_published(
        out,
        face=published(face, face_sha256),
        motion=published(motion, motion_sha256),
        audio=published(audio, audio_sha256),
        face_backbone=face_backbone,
        audio_padding=audio_padding,
        name=name,
    )
    console.print(f"{out}: {bundle.name}, sha256 {bundle.sha256}")


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__)
