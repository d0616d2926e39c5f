"""The folds, their ensemble, and the table of how they did."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from emolabel.models.ensemble.bundle import make_ensemble
from training.fold import BUNDLE
from training.results import PREDICTIONS, SINGLE, FoldResult, write_table
from training.run_folds import FoldOptions, OnEpoch, fold_name, run_folds
from training.settings import TrainSettings

ENSEMBLE = "ensemble"


def cross_validate(
    settings: TrainSettings,
    sets: Mapping[str, Path],
    out: Path,
    options: FoldOptions,
    on_epoch: OnEpoch = lambda name, report: None,
    *,
    single: bool = False,
) -> list[FoldResult]:
    """Train all folds and write, beside their folders: `ensemble/` (a bundle that averages them), `predictions.parquet`
    and `single.parquet` (of all folds together: each held-out sample once), and `folds.parquet`.

    Args:
        single: train one network instead, in `all/`.

    Raises:
        Stopped: the folds were asked to stop.
        TrainingError: data and settings do not fit, or a fold failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    folds: list[int | None] = [None] if single else list(range(settings.folds.count))
    results = run_folds(settings, sets, folds, out, options, on_epoch)
    folders = [out / fold_name(fold) for fold in folds]
    write_table(pa.concat_tables([pq.read_table(folder / PREDICTIONS) for folder in folders]), out / PREDICTIONS)
    write_table(pa.concat_tables([pq.read_table(folder / SINGLE) for folder in folders]), out / SINGLE)
    write_table(pa.Table.from_pylist([vars(result) for result in results]), out / "folds.parquet")
    if not single and not (out / ENSEMBLE).exists():
        # It has no metrics of its own: every labelled sample was learnt from by some of its members.
        make_ensemble([folder / BUNDLE for folder in folders], out / ENSEMBLE, name=settings.name)
    return results


def print_results(results: list[FoldResult], out: Path, console: Console) -> None:
    """A line per fold, and their mean."""
    table = Table("fold", box=None, header_style="bold", pad_edge=False)
    for head in ("learnt from", "held out", "accuracy", "UAR", "seconds"):
        table.add_column(head, justify="right")
    for result in results:
        table.add_row(
            fold_name(result.fold),
            f"{result.n_learnt:,}",
            f"{result.n_held_out:,}",
            _percent(result.accuracy),
            _percent(result.uar),
            f"{result.seconds:.0f}",
        )
    console.print(table)
    measured = [(r.accuracy, r.uar) for r in results if r.accuracy is not None and r.uar is not None]
    if len(measured) > 1:
        accuracies, uars = zip(*measured, strict=True)
        console.print(
            f"mean of {len(measured)} folds: accuracy {mean(accuracies):.1%} ± {stdev(accuracies):.1%}, "
            f"UAR {mean(uars):.1%} ± {stdev(uars):.1%}"
        )
    bundle = ENSEMBLE if len(results) > 1 else f"{fold_name(results[0].fold)}/{BUNDLE}"
    console.print(f"bundle: {out / bundle}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
