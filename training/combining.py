"""One bundle of branches that were trained apart, combined at decision level by calibrated probabilities."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emolabel import metrics
from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS, MODALITIES
from emolabel.models.bundle import LoadedBundle, load_bundle, save_bundle
from emolabel.models.combine import BranchDecision, Rule, clip_log_probabilities, combine
from emolabel.models.pini2017 import Pini2017, Pini2017Config
from emolabel.models.pini2017.config import DecisionConfig
from emolabel.types import Float64Array, Int64Array
from emolabel.version import __version__
from training.calibration import at_temperature, fit_temperature
from training.evaluation.labels import FUSED, read_labels
from training.evaluation.matching import Clips, match_clips
from training.evaluation.truth import truth_of_labels


@dataclass(frozen=True)
class Apart:
    """A branch that was trained by itself."""

    bundle: str
    """Name, folder or hub id of a bundle that has it."""
    held_out: tuple[str, ...]
    """Predictions of samples that were not learnt from, with their truth (see `evaluation.labels.read_labels`): its
    temperature is fitted on them."""
    level: float = 0.0
    """How far the classes are brought to the same footing: 0, as often as in the data; 1, as if all were equally
    frequent. Logits lose the logarithm of a class's share times this (Menon et al., ICLR 2021,
    https://arxiv.org/abs/2007.07314)."""


def combine_branches(
    branches: Mapping[str, Apart],
    out: str | Path,
    *,
    name: str,
    rule: Rule = "log_mean",
    clips: Sequence[str] = (),
    licence: Mapping[str, Any] | None = None,
) -> LoadedBundle:
    """Write a bundle, in half precision, whose fused label is the calibrated mean of its branches.

    Args:
        branches: by their names in the order face, motion, audio.
        rule: see `models.combine.combine`.
        clips: labels of clips that no branch has learnt from, with their truth, made by bundles of the same branches:
            the temperature of the fused probabilities is fitted on them. Empty: it stays 1.
        licence: of the weights.

    Raises:
        BundleError: a bundle cannot be loaded or written, or lacks the branch.
        TrainingError: predictions or labels cannot be read, or have no scores of a branch.
    """
    bundles = {branch: load_bundle(apart.bundle) for branch, apart in branches.items()}
    models = {branch: _model(bundle, branch, branches[branch].bundle) for branch, bundle in bundles.items()}
    held_out = {branch: _scored(apart.held_out, branch) for branch, apart in branches.items()}
    decisions = {branch: _decision(*scores, branches[branch].level) for branch, scores in held_out.items()}
    figures: dict[str, Any] = {
        branch: _figures(_decided(scores, decisions[branch]), truth) for branch, (scores, truth) in held_out.items()
    }
    rules = DecisionConfig(decisions.get("face"), decisions.get("motion"), decisions.get("audio"), rule=rule)
    if clips:
        rules, figures[FUSED] = _fused(rules, clips)
    parts = {branch: getattr(model.config, branch) for branch, model in models.items()}
    absent = dict.fromkeys((name for name in MODALITIES if name not in parts), None)
    model = Pini2017(Pini2017Config(**parts, **absent, fusion=None, decision=rules)).eval()
    for branch, theirs in models.items():
        model.branches[branch].load_state_dict(theirs.branches[branch].state_dict())
    return save_bundle(
        model,
        out,
        name=name,
        trained={part: bundles[part.partition(".")[0]].config.trained[part] for part in model.parts()},
        provenance={
            "weights": "branches trained apart, combined at decision level",
            "branches": {branch: _origin(bundle) for branch, bundle in bundles.items()},
            "emolabel_version": __version__,
        },
        metrics=figures,
        licence=licence,
        half=True,
    )


def _model(bundle: LoadedBundle, branch: str, where: str) -> Pini2017:
    model = bundle.model
    if not isinstance(model, Pini2017) or branch not in model.branches:
        raise TrainingError(f"the bundle {where} has no {branch} branch")
    return model


def _origin(bundle: LoadedBundle) -> dict[str, Any]:
    return {"name": bundle.config.name, "sha256": bundle.sha256, "provenance": bundle.config.provenance}


def _clips(labels: Sequence[str], branches: Iterable[str]) -> Clips:
    read = read_labels(labels)
    clips = match_clips(read, truth_of_labels(read))
    for branch in branches:
        if branch not in clips.scores:
            raise TrainingError(f"{labels[0]} has no scores of the {branch} branch")
    return clips


def _scored(labels: Sequence[str], branch: str) -> tuple[Float64Array, Int64Array]:
    """(n, 7) probabilities of a branch and (n,) class numbers."""
    clips = _clips(labels, [branch])
    there = clips.scored(branch)
    return clips.scores[branch][there], clips.truth[there]


def _decision(scores: Float64Array, truth: Int64Array, level: float) -> BranchDecision:
    """The temperature is that of the data as they are; the classes are levelled after it."""
    temperature = fit_temperature(scores, truth)
    if not level:
        return BranchDecision(temperature)
    shares = np.bincount(truth, minlength=len(EMOTIONS)) / len(truth)
    if not shares.all():
        raise TrainingError(
            f"classes cannot be levelled: the held-out samples have no {EMOTIONS[int(shares.argmin())]}"
        )
    return BranchDecision(temperature, bias=tuple((-level * np.log(shares)).tolist()))


def _decided(scores: Float64Array, decision: BranchDecision) -> Float64Array:
    """As the bundle will say them: logits differ from logarithms of probabilities by a constant alone."""
    logits = _logarithms(scores)[:, None]
    said = clip_log_probabilities(logits, torch.ones(logits.shape[:2], dtype=torch.bool), decision, "logits")
    probabilities: Float64Array = said.exp().numpy()
    return probabilities


def _logarithms(scores: Float64Array) -> Tensor:
    return torch.from_numpy(scores).clamp_min(metrics.SMALLEST_PROBABILITY).log()


def _fused(rules: DecisionConfig, labels: Sequence[str]) -> tuple[DecisionConfig, dict[str, float]]:
    """The rules with a fitted temperature, and how the fused label does on the clips that have all branches."""
    clips = _clips(labels, rules.branches)
    there = np.all([clips.scored(branch) for branch in rules.branches], axis=0)
    if not there.any():
        raise TrainingError(f"no clip in {labels[0]} has scores of all branches")
    says = {branch: _logarithms(clips.scores[branch][there]) for branch in rules.branches}
    truth = clips.truth[there]
    weights = {branch: decision.weight for branch, decision in rules.branches.items()}
    rows = dict.fromkeys(says, torch.arange(len(truth)))
    pooled = combine(says, rows, weights, len(truth), rules.rule).exp().numpy()
    temperature = fit_temperature(pooled, truth)
    return replace(rules, temperature=temperature), _figures(at_temperature(pooled, temperature), truth)


def _figures(probabilities: Float64Array, truth: Int64Array) -> dict[str, float]:
    confusion = metrics.confusion_matrix(truth, probabilities.argmax(axis=1), len(EMOTIONS))
    return {
        "n": len(truth),
        "accuracy": metrics.accuracy(confusion),
        "uar": metrics.unweighted_average_recall(confusion),
        "expected_calibration_error": metrics.reliability_bins(probabilities, truth).expected_calibration_error,
    }
