"""The folds side by side: each is a Ray Train run of its own, so that one that dies disturbs no other.

A fold's folder is its checkpoint and its log, so all machines of the cluster must see the output folder.
"""

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from emolabel.errors import ConfigError, EmolabelError, TrainingError
from emolabel.pipeline.cluster import ClusterSize, engine_errors, ray_session
from training.fold import BUNDLE, Stopped, train_fold
from training.progress import EpochReport, read_log
from training.results import FoldResult, read_result
from training.settings import TrainSettings, settings_of

_STOP = "stop"
_ERROR = "error.txt"
_POLL_S = 1.0

OnEpoch = Callable[[str, EpochReport], None]


@dataclass(frozen=True)
class FoldOptions:
    """How the folds are carried out; nothing here changes what they learn."""

    parallel: int | None = None
    """At most so many at once; None: as many as the cluster has room for."""
    cpus_per_fold: int | None = None
    """None: the CPUs of the cluster, shared among the folds that run at once."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto` (a GPU for each fold where the cluster has them)."""
    address: str | None = None
    retries: int = 3
    """How often a fold whose process died is started again from its checkpoint."""

    def __post_init__(self) -> None:
        for name in ("parallel", "cpus_per_fold"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"a device is 'auto', 'cpu' or 'cuda', got {self.device!r}")


@dataclass(frozen=True)
class FoldShares:
    """What each fold gets of the cluster."""

    parallel: int
    cpus: int
    device: str


def run_folds(
    settings: TrainSettings,
    sets: Mapping[str, Path],
    folds: Sequence[int | None],
    out: Path,
    options: FoldOptions,
    on_epoch: OnEpoch = lambda name, report: None,
) -> list[FoldResult]:
    """Train the folds that are not done yet; each in `out/fold-K`, a single network in `out/all`.

    Args:
        folds: their numbers; `[None]` trains one network that is not cross-validated.
        on_epoch: called with the fold's name after each of its epochs.

    Raises:
        Stopped: SIGTERM came, or `request_stop` was called; every fold has written its checkpoint.
        TrainingError: a fold failed; the others were finished first.
    """
    (out / _STOP).unlink(missing_ok=True)
    todo = [fold for fold in folds if not (out / fold_name(fold) / BUNDLE).exists()]
    if todo:
        with ray_session(options.address) as size, engine_errors(), _sigterm_stops(out):
            shares = share_folds(size, len(todo), options)
            failed = _run(settings, sets, todo, out, shares, options.retries, on_epoch)
        if failed:
            raise TrainingError("; ".join(f"{name}: {error}" for name, error in failed.items()))
        if (out / _STOP).exists():
            raise Stopped("stopped; every fold has its checkpoint. Run the same command again to go on")
    return [read_result(out / fold_name(fold)) for fold in folds]


def request_stop(out: Path) -> None:
    """Ask all folds to end after the epoch that they are in."""
    (out / _STOP).touch()


@contextmanager
def _sigterm_stops(out: Path) -> Iterator[None]:
    """SIGTERM is a request to stop. Installed after Ray, which would abort the process with a dump of its stack."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: request_stop(out))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def fold_name(fold: int | None) -> str:
    """Of its folder."""
    return "all" if fold is None else f"fold-{fold}"


def share_folds(size: ClusterSize, n_folds: int, options: FoldOptions) -> FoldShares:
    """How many folds run at once, and with what.

    Raises:
        ConfigError: the cluster does not have what was asked for.
    """
    on_gpu = options.device == "cuda" or (options.device == "auto" and size.gpus >= 1)
    if on_gpu and size.gpus < 1:
        raise ConfigError("a GPU was asked for, but the cluster has none")
    if options.cpus_per_fold is not None and options.cpus_per_fold > size.cpus:
        raise ConfigError(f"--cpus-per-fold is {options.cpus_per_fold}, but the cluster has {size.cpus:g} CPUs")
    room = size.gpus if on_gpu else size.cpus / (options.cpus_per_fold or 1)
    parallel = max(1, min(n_folds, math.floor(room), options.parallel or n_folds))
    cpus = options.cpus_per_fold or max(1, math.floor(size.cpus / parallel))
    return FoldShares(parallel, cpus, "cuda" if on_gpu else "cpu")


def _run(
    settings: TrainSettings,
    sets: Mapping[str, Path],
    todo: Sequence[int | None],
    out: Path,
    shares: FoldShares,
    retries: int,
    on_epoch: OnEpoch,
) -> dict[str, str]:
    """All folds to their end; the errors of those that failed."""
    waiting, running = list(todo), dict[Any, int | None]()
    told = {fold: len(read_log(out / fold_name(fold))) for fold in todo}
    failed: dict[str, str] = {}
    while waiting or running:
        while waiting and len(running) < shares.parallel and not (out / _STOP).exists():
            fold = waiting.pop(0)
            plan = _plan(settings, sets, fold, out, shares)
            running[_fit.remote(plan, retries)] = fold
        if not running:
            break
        done, _ = ray.wait(list(running), timeout=_POLL_S)
        for fold in list(told):
            reports = read_log(out / fold_name(fold))
            for report in reports[told[fold] :]:
                on_epoch(fold_name(fold), report)
            told[fold] = max(told[fold], len(reports))
        for reference in done:
            fold = running.pop(reference)
            error = ray.get(reference)
            if error is not None:
                failed[fold_name(fold)] = error
    return failed


def _plan(
    settings: TrainSettings, sets: Mapping[str, Path], fold: int | None, out: Path, shares: FoldShares
) -> dict[str, Any]:
    """All that a worker has to know, as plain values."""
    return {
        "settings": settings.to_plain(),
        "sets": {name: str(Path(path).resolve()) for name, path in sets.items()},
        "fold": fold,
        "folder": str((out / fold_name(fold)).resolve()),
        "stop": str((out / _STOP).resolve()),
        **asdict(shares),
    }


@ray.remote(num_cpus=0, max_retries=2)  # type: ignore[untyped-decorator]  # Ray has no types here
def _fit(plan: dict[str, Any], retries: int) -> str | None:
    """One Ray Train run; why it failed, or None."""
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    folder = Path(plan["folder"])
    (folder / _ERROR).unlink(missing_ok=True)
    gpus = {"GPU": 1} if plan["device"] == "cuda" else {}
    trainer = TorchTrainer(
        _train,
        train_loop_config=plan,
        scaling_config=ScalingConfig(
            num_workers=1, use_gpu=bool(gpus), resources_per_worker={"CPU": plan["cpus"], **gpus}
        ),
        run_config=RunConfig(
            name=folder.name, storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=retries)
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"its process failed {retries + 1} times ({lines[-1].strip() if lines else type(error).__name__})"
    return (folder / _ERROR).read_text() if (folder / _ERROR).exists() else None


def _train(plan: dict[str, Any]) -> None:
    """In the worker of a fold. Our own errors would fail again: they are told, not raised."""
    folder = Path(plan["folder"])
    torch.set_num_threads(plan["cpus"])
    sets = {name: Path(path) for name, path in plan["sets"].items()}
    try:
        train_fold(
            settings_of(plan["settings"], "settings"),
            sets,
            plan["fold"],
            folder,
            on_epoch=lambda report: ray.train.report(asdict(report)),
            should_stop=Path(plan["stop"]).exists,
            device=plan["device"],
        )
    except Stopped:
        return
    except EmolabelError as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _ERROR).write_text(str(error))
