"""One fold from random or imported weights to a bundle: phase 1 for each branch, phase 2, and the held-out samples."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emolabel.errors import BundleError, TrainingError
from emolabel.labels import MODALITIES
from emolabel.models.bundle import load_bundle, save_bundle
from emolabel.models.pini2017 import Pini2017
from emolabel.models.pini2017.branches import Branch
from emolabel.version import __version__
from training.branch_stage import BranchStage
from training.checkpoint import load_checkpoint, save_checkpoint
from training.fit import check_fit
from training.folds import Split, split_samples
from training.fusion_stage import STAGE as FUSION
from training.fusion_stage import FusionStage
from training.measure import Measured, measure_branch
from training.prepared import PreparedSet, failures
from training.progress import EpochReport, write_log
from training.results import FoldResult, read_result, write_results
from training.settings import StageSettings, TrainSettings
from training.trunk_cache import TrunkOutputs

BUNDLE = "bundle"
_CHECKPOINT = "checkpoint.pt"


class Stopped(TrainingError):
    """The fold was asked to stop; its checkpoint is written."""


def train_fold(
    settings: TrainSettings,
    sets: Mapping[str, Path],
    fold: int | None,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    should_stop: Callable[[], bool] = lambda: False,
    device: str = "cpu",
) -> FoldResult:
    """Train one fold; called again after it was interrupted, it goes on after the last finished epoch.

    Writes `checkpoint.pt` and `log.csv` after each epoch, and at the end `bundle/` with what else `results` names.
    The weights do not depend on interruptions.

    Args:
        sets: folders of prepared data sets, by name.
        fold: see `folds.split_samples`.
        should_stop: asked after each epoch.

    Raises:
        Stopped: `should_stop` said so.
        TrainingError: data or settings do not fit, or a file cannot be written.
    """
    if (folder / BUNDLE).exists():
        return read_result(folder)
    run = _Run(settings, _opened(settings, sets), fold, folder, device)
    for name, stage in settings.stages.items():
        run.train(name, stage, on_epoch, should_stop)
    return run.finish()


def _opened(settings: TrainSettings, sets: Mapping[str, Path]) -> dict[str, PreparedSet]:
    missing = [name for name in settings.set_names if name not in sets]
    if missing:
        raise TrainingError(f"the settings name the data set {missing[0]!r}: give it with --set {missing[0]}=FOLDER")
    for name in settings.set_names:
        stages = [stage for stage, its in settings.stages.items() if name in (its.sets or (settings.primary,))]
        primary = name == settings.primary
        modalities = MODALITIES if primary else tuple(stage for stage in MODALITIES if stage in stages)
        check_fit(Path(sets[name]), name, settings.model.input_spec, modalities, primary)
    return {name: PreparedSet(Path(sets[name])) for name in settings.set_names}


class _Run:
    def __init__(
        self, settings: TrainSettings, sets: dict[str, PreparedSet], fold: int | None, folder: Path, device: str
    ) -> None:
        self._settings, self._sets, self._fold, self._folder = settings, sets, fold, folder
        self._primary = sets[settings.primary]
        self._split: Split = split_samples(self._primary.samples, settings.folds, fold, settings.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self._model = Pini2017(settings.model)
        self._model.reset_parameters(settings.seed)
        self._trained = _started(self._model, settings)
        self._model.to(device)
        for module in self._model.modules():
            if isinstance(module, nn.Conv2d):  # quicker on CPUs
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch declares none
        self._plan: dict[str, Any] = {
            "settings": settings.to_plain(),
            "fold": fold,
            "data": {name: prepared.fingerprint() for name, prepared in sets.items()},
        }
        """What a checkpoint belongs to."""
        self._outputs: dict[tuple[str, str], TrunkOutputs] = {}
        self._checkpoint = load_checkpoint(folder / _CHECKPOINT)
        self._reports: list[EpochReport] = []
        if self._checkpoint is not None:
            _check_same(self._checkpoint, self._plan, folder)
            self._reports = [EpochReport(**report) for report in self._checkpoint["reports"]]
            self._model.load_state_dict(self._checkpoint["model"])

    def train(
        self,
        name: str,
        settings: StageSettings,
        on_epoch: Callable[[EpochReport], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """All epochs of a stage that are not done yet."""
        done = sum(report.stage == name for report in self._reports)
        if any(report.stage == later for report in self._reports for later in self._after(name)):
            self._freeze(name)
            return
        stage = self._stage(name, settings)
        if done and self._checkpoint is not None:
            self._model.load_state_dict(self._checkpoint["model"])
            stage.trainer.restore(self._checkpoint["trainer"])
        n_epochs = settings.stop_after or settings.epochs
        for epoch in range(done, n_epochs):
            started = time.monotonic()
            loss, accuracy = stage.train_epoch(epoch)
            if not loss == loss or loss == float("inf"):
                raise TrainingError(f"the {name} stage diverged in epoch {epoch + 1}: lower its learning rate")
            with stage.trainer.kept():
                measured = stage.measure() if isinstance(stage, FusionStage) else self._measure(name)
            seconds = time.monotonic() - started
            report = EpochReport(
                stage=name,
                epoch=epoch + 1,
                n_epochs=n_epochs,
                loss=loss,
                train_accuracy=accuracy,
                validation_loss=None if measured is None else measured.loss,
                validation_accuracy=None if measured is None else measured.accuracy,
                seconds=seconds,
            )
            self._reports.append(report)
            self._save(stage)
            on_epoch(report)
            if should_stop():
                raise Stopped(f"stopped after epoch {epoch + 1} of {name}; run it again to go on")
        stage.finish()

    def finish(self) -> FoldResult:
        """Write what the fold leaves behind; the bundle last, for it says that the fold is done."""
        self._model.eval()
        single = {name: measured for name in self._model.branches if (measured := self._measure(name)) is not None}
        seconds = sum(report.seconds for report in self._reports)
        result = write_results(
            self._folder, self._model, self._primary, self._split, self._fold, single, seconds, self._settings.name
        )
        suffix = "" if self._fold is None else f"-fold{self._fold}"
        save_bundle(
            self._model,
            self._folder / BUNDLE,
            name=f"{self._settings.name}{suffix}",
            trained=self._trained_parts(),
            provenance=self._provenance(),
            metrics={"held_out": {key: value for key, value in asdict(result).items() if key != "fold"}},
        )
        return result

    def _stage(self, name: str, settings: StageSettings) -> BranchStage | FusionStage:
        seed = self._settings.seed
        if name == FUSION:
            return FusionStage(
                self._model, settings, self._primary, self._split, seed, self._caches(*self._model.branches)
            )
        names = settings.sets or (self._settings.primary,)
        learnt: dict[str, Sequence[int]] = {set_name: range(len(self._sets[set_name])) for set_name in names}
        if self._settings.primary in learnt:
            learnt[self._settings.primary] = self._split.learnt
        return BranchStage(self._model, name, settings, self._sets, learnt, seed, self._trunk_outputs(name, learnt))

    def _measure(self, name: str) -> Measured | None:
        return measure_branch(self._model, name, self._primary, self._split.held_out, self._caches(name))

    def _caches(self, *branches: str) -> dict[str, TrunkOutputs]:
        """Of the primary data set, by branch."""
        found = {name: self._trunk_outputs(name, [self._settings.primary]) for name in branches}
        return {name: outputs[self._settings.primary] for name, outputs in found.items() if outputs}

    def _trunk_outputs(self, name: str, sets: Iterable[str]) -> dict[str, TrunkOutputs]:
        """What the trunk of a branch makes of data sets; empty where the settings do not ask for it.

        Opened once: all of a trunk's weights are read to find its file.
        """
        if not self._settings.stages[name].cache_trunk:
            return {}
        for set_name in sets:
            if (set_name, name) not in self._outputs:
                self._outputs[set_name, name] = TrunkOutputs(self._branch(name), self._sets[set_name], name)
        return {set_name: self._outputs[set_name, name] for set_name in sets}

    def _branch(self, name: str) -> Branch:
        branch = self._model.branches[name]
        assert isinstance(branch, Branch)
        return branch

    def _after(self, name: str) -> list[str]:
        names = list(self._settings.stages)
        return names[names.index(name) + 1 :]

    def _freeze(self, name: str) -> None:
        part = self._model.fusion if name == FUSION else self._model.branches[name]
        part.freeze()  # type: ignore[union-attr,operator]  # branches and fusion are Freezable

    def _save(self, stage: BranchStage | FusionStage) -> None:
        self._checkpoint = {
            "plan": self._plan,
            "reports": [asdict(report) for report in self._reports],
            "model": self._model.state_dict(),
            "trainer": stage.trainer.state(),
        }
        save_checkpoint(self._folder / _CHECKPOINT, self._checkpoint)
        write_log(self._folder, self._reports)

    def _provenance(self) -> dict[str, Any]:
        data = {
            name: {
                "sha256_of_ids_and_labels": self._plan["data"][name],
                "n_samples": len(prepared),
                "left_out": failures(prepared.unusable),
            }
            for name, prepared in self._sets.items()
        }
        return {
            **self._plan,
            "data": data,
            "n_learnt": len(self._split.learnt),
            "n_held_out": len(self._split.held_out),
            "emolabel_version": __version__,
            "torch_version": str(torch.__version__),
        }

    def _trained_parts(self) -> dict[str, bool]:
        trained = dict(self._trained)
        for name, stage in self._settings.stages.items():
            if name == FUSION:
                trained[FUSION] = True
            else:
                trained |= {f"{name}.head": True, f"{name}.classifier": True}
                trained[f"{name}.trunk"] |= stage.train_trunk
        return trained


def _started(model: Pini2017, settings: TrainSettings) -> dict[str, bool]:
    """Take over the trained parts of a bundle; which parts of the model are trained then."""
    trained = dict.fromkeys(model.parts(), False)
    if settings.start is None:
        return trained
    bundle = load_bundle(settings.start)
    if not isinstance(bundle.model, Pini2017):
        raise BundleError(f"{settings.start} is no network of one piece: training can start from a fold of it")
    theirs = bundle.model.parts()
    for name, part in model.parts().items():
        wanted = not settings.start_branches or _branch_of(name) in settings.start_branches
        if not (wanted and bundle.config.trained.get(name, False)):
            continue
        try:
            part.load_state_dict(theirs[name].state_dict())
        except RuntimeError as error:
            raise BundleError(
                f"{settings.start}: its part {name} does not fit the model that the settings describe"
            ) from error
        trained[name] = True
    missing = set(settings.start_branches) - {_branch_of(name) for name, taken in trained.items() if taken}
    if missing:
        raise BundleError(f"{settings.start} has no trained branch {', '.join(sorted(missing))}")
    return trained


def _branch_of(part: str) -> str:
    return part.partition(".")[0]


def _check_same(checkpoint: dict[str, Any], plan: dict[str, Any], folder: Path) -> None:
    theirs = checkpoint.get("plan")
    if theirs != plan:
        differs = [key for key in plan if not isinstance(theirs, dict) or theirs.get(key) != plan[key]]
        what = ", ".join(differs) or "plan"
        raise TrainingError(f"{folder} holds a fold of other {what}: choose another output folder, or remove it")
