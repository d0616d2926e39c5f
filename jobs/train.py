"""`python jobs/train.py CONFIG.toml --set NAME=FOLDER... -o OUT`: train the folds of a model, and their ensemble."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from emolabel.cli import EXIT_STOPPED, console, run_app
from emolabel.errors import ConfigError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Settings (TOML); training/configs/ has some.")],
    sets: Annotated[list[str], typer.Option("--set", metavar="NAME=FOLDER", help="A prepared data set; repeatable.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder. All machines of the cluster must see it.")],
    folds: Annotated[int | None, typer.Option(help="How many folds (default: as the settings say).")] = None,
    single: Annotated[bool, typer.Option("--single", help="One network, not cross-validated.")] = False,
    start: Annotated[str | None, typer.Option(help="Bundle whose trained parts are taken over.")] = None,
    start_branches: Annotated[
        list[str] | None, typer.Option("--start-branch", help="Only of this branch: face, motion or audio; repeatable.")
    ] = None,
    parallel: Annotated[int | None, typer.Option(help="At most so many folds at once.")] = None,
    cpus_per_fold: Annotated[int | None, typer.Option(help="(default: the CPUs, shared among the folds)")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (default: $RAY_ADDRESS, or an embedded local Ray).")
    ] = None,
) -> None:
    """Train. Run the same command again to go on after it was interrupted."""
    from dataclasses import replace

    from emolabel.models.bundle import UNTRAINED, load_bundle
    from emolabel.models.shipped import shipped_names
    from training.cross_validate import cross_validate, print_results
    from training.fold import Stopped
    from training.progress import EpochReport
    from training.run_folds import FoldOptions
    from training.settings import read_settings

    settings = read_settings(config)
    start = start or settings.start
    if start is not None:
        load_bundle(start)  # what is wrong with it is said now, and not by each fold
        if start not in (*shipped_names(), *UNTRAINED) and Path(start).is_dir():
            start = str(Path(start).resolve())  # folds do not run in this folder
    try:
        settings = replace(settings, start=start, start_branches=tuple(start_branches or settings.start_branches))
    except ValueError as error:
        raise ConfigError(f"--start-branch: {error}") from error
    if folds is not None:
        try:
            settings = replace(settings, folds=replace(settings.folds, count=folds))
        except ValueError as error:
            raise ConfigError(f"--folds: {error}") from error

    def tell(name: str, report: EpochReport) -> None:
        held_out = "" if report.validation_accuracy is None else f", held out {report.validation_accuracy:.1%}"
        console.print(
            f"{name}  {report.stage:<6} {report.epoch:>3}/{report.n_epochs}  loss {report.loss:.3f}  "
            f"learnt {report.train_accuracy:.1%}{held_out}  {report.seconds:.1f} s"
        )

    options = FoldOptions(parallel=parallel, cpus_per_fold=cpus_per_fold, device=device, address=address)
    try:
        results = cross_validate(settings, _folders(sets), out, options, tell, single=single)
    except Stopped as stopped:
        print(f"emolabel: {stopped}", file=sys.stderr)
        raise typer.Exit(EXIT_STOPPED) from None
    print_results(results, out, console)


def _folders(sets: list[str]) -> dict[str, Path]:
    folders = {}
    for text in sets:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ConfigError(f"--set takes NAME=FOLDER, got {text!r}")
        if not Path(folder).is_dir():
            raise ConfigError(f"--set {name}: there is no folder {folder}")
        folders[name] = Path(folder)
    return folders


if __name__ == "__main__":
    run_app(app)
