"""The whole network, and prediction with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from emolabel.models.base import EmotionModel
from emolabel.models.collate import (
    AudioBatch,
    VisualBatch,
    audible,
    collate_audio,
    collate_visual,
)
from emolabel.models.combine import BranchDecision, clip_log_probabilities, combine
from emolabel.models.pini2017.branches import AudioBranch, Branch, FaceBranch, MotionBranch
from emolabel.models.pini2017.config import DecisionConfig, Pini2017Config
from emolabel.models.pini2017.fusion import FusionNetwork, Observed
from emolabel.sampling import InputSpec
from emolabel.types import ClipInputs, Float32Array, Prediction

# Memory is bounded whatever the batch: a slice needs about 100 MB of activations in C3D's first layers.
CROPS_PER_PASS = 64
SLICES_PER_PASS = 8
PIECES_PER_PASS = 64

_AVERAGED = DecisionConfig(pool="probabilities")
"""Scores per branch beside a fusion network: the mean softmax, "averaged" in the paper's Table 2."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips as tensors on the model's device."""

    n_clips: int
    face: VisualBatch | None
    motion: VisualBatch | None
    audio: AudioBatch | None


@dataclass(frozen=True, eq=False)
class Logits:
    """What the network says of a batch."""

    fused: Tensor
    """(n_clips, 7) of the fusion network; logarithms of the combined probabilities where a decision rule combines."""
    branches: Mapping[str, Tensor]
    """Per modality that some clip has: (n, K, 7) of its frames, slices, or pieces of its sound (K = 1: all of it)."""
    present: Mapping[str, Tensor]
    """Per modality: (n, K) bool; False where a clip has fewer pieces of sound than others. Those do not count."""
    rows: Mapping[str, Tensor]
    """Per modality: (n,) which clips of the batch these are."""


@dataclass(frozen=True, eq=False)
class BranchViews:
    """Features of one modality."""

    features: Tensor
    """(n, K, D)."""
    present: Tensor
    """(n, K) bool."""
    rows: Tensor
    """(n,)."""


class Pini2017(EmotionModel):
    """Face, motion and audio branches, and a fusion network or a decision rule; which of them, says the config."""

    architecture = "pini2017"
    config: Pini2017Config

    def __init__(self, config: Pini2017Config) -> None:
        super().__init__()
        self.config = config
        branches: dict[str, Branch] = {}
        if config.face is not None:
            branches["face"] = FaceBranch(config.face)
        if config.motion is not None:
            branches["motion"] = MotionBranch(config.motion)
        if config.audio is not None:
            branches["audio"] = AudioBranch(config.audio)
        self.branches = nn.ModuleDict(branches)
        self.fusion = FusionNetwork(config) if config.fusion is not None else None

    @property
    def input_spec(self) -> InputSpec:
        """What it wants to see and hear of a window."""
        return self.config.input_spec

    def parts(self) -> Mapping[str, nn.Module]:
        """`<branch>.trunk`, `.head` and `.classifier` for each branch, and `fusion` where there is a network for it."""
        parts: dict[str, nn.Module] = {
            f"{name}.{part}": branch.get_submodule(part)
            for name, branch in self.branches.items()
            for part in ("trunk", "head", "classifier")
        }
        return parts if self.fusion is None else {**parts, "fusion": self.fusion}

    def collate(self, clips: Sequence[ClipInputs]) -> Batch:
        """Puts clips on the model's device. What the model has no branch for is left out."""
        face, motion, audio = self.config.face, self.config.motion, self.config.audio
        return Batch(
            n_clips=len(clips),
            face=collate_visual([clip.face for clip in clips], face.sampling, self.device) if face else None,
            motion=collate_visual([clip.motion for clip in clips], motion.sampling, self.device) if motion else None,
            audio=collate_audio(audible(clips), audio.sampling, self.device, audio.piece_samples) if audio else None,
        )

    def forward(self, batch: Batch) -> Logits:
        """Logits of each branch, and of all together."""
        seen = self.views(batch)
        branches = {name: self._branch(name).classifier(views.features) for name, views in seen.items()}
        present = {name: views.present for name, views in seen.items()}
        rows = {name: views.rows for name, views in seen.items()}
        if self.fusion is not None:
            fused = self.fusion({name: _observed(name, views) for name, views in seen.items()}, batch.n_clips)
        else:
            fused = self._decide(branches, present, rows, batch.n_clips)
        return Logits(fused, branches, present, rows)

    def observe(self, batch: Batch) -> dict[str, Observed]:
        """What the branches make of a batch, as the fusion network takes it; clips without a modality are left out."""
        return {name: _observed(name, views) for name, views in self.views(batch).items()}

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Labels clips; see `EmotionModel.predict`.

        Beside a fusion network the scores of a branch are the mean of the softmax over its frames, slices or pieces
        ("averaged" in the paper's Table 2), and a missing modality is a zero slot in the fusion. With a decision rule
        they are the calibrated probabilities that the rule combines, and a missing modality is left out of the mean.
        """
        logits = self(batch)
        fused = _array(logits.fused.softmax(dim=1))
        scores = self._clip_scores(logits.branches, logits.present)
        per_clip: list[dict[str, Float32Array]] = [{} for _ in range(batch.n_clips)]
        for name, values in scores.items():
            for row, value in zip(logits.rows[name].tolist(), _array(values.softmax(dim=1)), strict=True):
                per_clip[row][name] = value
        return [
            Prediction(
                fused[row] if seen else None, face=seen.get("face"), motion=seen.get("motion"), audio=seen.get("audio")
            )
            for row, seen in enumerate(per_clip)
        ]

    def views(self, batch: Batch) -> dict[str, BranchViews]:
        """The features of each modality that some clip has."""
        seen: dict[str, BranchViews] = {}
        if batch.face is not None:
            seen["face"] = self._look("face", batch.face, CROPS_PER_PASS)
        if batch.motion is not None:
            seen["motion"] = self._look("motion", batch.motion, SLICES_PER_PASS)
        if batch.audio is not None:
            seen["audio"] = self._listen(batch.audio)
        return seen

    def _decide(
        self,
        branches: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        rows: Mapping[str, Tensor],
        n_clips: int,
    ) -> Tensor:
        """(n_clips, 7) logarithms of the combined probabilities."""
        decision = self.config.decision
        assert decision is not None
        weights = {name: branch.weight for name, branch in decision.branches.items()}
        scores = self._clip_scores(branches, present)
        return combine(scores, rows, weights, n_clips, decision.rule, decision.temperature)

    def _clip_scores(self, branches: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Per branch (n, 7) logarithms of probabilities."""
        decision = self.config.decision or _AVERAGED
        return {
            name: clip_log_probabilities(
                logits, present[name], decision.branches.get(name, BranchDecision()), decision.pool
            )
            for name, logits in branches.items()
        }

    def _branch(self, name: str) -> Branch:
        branch = self.branches[name]
        assert isinstance(branch, Branch)
        return branch

    def _look(self, name: str, batch: VisualBatch, per_pass: int) -> BranchViews:
        views = _in_passes(lambda ids: self._branch(name).features(batch.crops[ids]), batch.views, per_pass)
        present = torch.ones(batch.places.shape, dtype=torch.bool, device=views.device)
        return BranchViews(views[batch.places], present, batch.rows)

    def _listen(self, batch: AudioBatch) -> BranchViews:
        branch = self._branch("audio")
        # Statistics of a batch must see all of it.
        per_pass = len(batch.samples) if branch.training else PIECES_PER_PASS
        pieces = _in_passes(branch.features, batch.samples, per_pass)
        return BranchViews(pieces[batch.places], batch.present, batch.rows)


def _observed(name: str, views: BranchViews) -> Observed:
    """What the fusion network takes: pictures one by one, sound as the mean over its pieces."""
    if name != "audio":
        return Observed(views.features, views.rows)
    sums = (views.features * views.present[..., None]).sum(dim=1)
    return Observed(sums / views.present.sum(dim=1, keepdim=True), views.rows)


def _in_passes(function: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    return torch.cat([function(part) for part in torch.split(inputs, size)])


def _array(values: Tensor) -> Float32Array:
    array: Float32Array = values.cpu().numpy().astype(np.float32)
    return array
