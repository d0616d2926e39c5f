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
from emolabel.models.exact import exact_float32
from emolabel.models.pini2017.branches import AudioBranch, Branch, FaceBranch, MotionBranch
from emolabel.models.pini2017.config import Pini2017Config
from emolabel.models.pini2017.fusion import FusionNetwork, Observed
from emolabel.sampling import InputSpec
from emolabel.types import ClipInputs, Float32Array, Prediction

# Memory is bounded whatever the batch: a slice needs about 100 MB of activations in C3D's first layers.
CROPS_PER_PASS = 64
SLICES_PER_PASS = 8


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
    """(n_clips, 7)."""
    branches: Mapping[str, Tensor]
    """Per modality that some clip has: (n, K, 7) of its frames or slices, (n, 1, 7) of its sound."""
    rows: Mapping[str, Tensor]
    """Per modality: (n,) which clips of the batch these are."""


class Pini2017(EmotionModel):
    """Face, motion and audio branches and their fusion; which branches, says the config."""

    architecture = "pini2017"

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
        self.fusion = FusionNetwork(config)

    @property
    def input_spec(self) -> InputSpec:
        """What it wants to see and hear of a window."""
        spec: InputSpec = self.config.input_spec
        return spec

    def parts(self) -> Mapping[str, nn.Module]:
        """`<branch>.trunk`, `.head` and `.classifier` for each branch, and `fusion`."""
        parts = {
            f"{name}.{part}": branch.get_submodule(part)
            for name, branch in self.branches.items()
            for part in ("trunk", "head", "classifier")
        }
        return {**parts, "fusion": self.fusion}

    def collate(self, clips: Sequence[ClipInputs]) -> Batch:
        """Puts clips on the model's device. What the model has no branch for is left out."""
        spec, device = self.input_spec, self.fusion.classifier.weight.device
        return Batch(
            n_clips=len(clips),
            face=collate_visual([clip.face for clip in clips], spec.face, device) if spec.face else None,
            motion=collate_visual([clip.motion for clip in clips], spec.motion, device) if spec.motion else None,
            audio=collate_audio(audible(clips), spec.audio, device) if spec.audio else None,
        )

    def forward(self, batch: Batch) -> Logits:
        """Logits of the fusion and of each branch."""
        observed: dict[str, Observed] = {}
        if batch.face is not None:
            observed["face"] = self._look("face", batch.face, CROPS_PER_PASS)
        if batch.motion is not None:
            observed["motion"] = self._look("motion", batch.motion, SLICES_PER_PASS)
        if batch.audio is not None:
            features = self._branch("audio").features(batch.audio.samples)
            observed["audio"] = Observed(features, batch.audio.rows)
        branches = {name: self._branch(name).classifier(seen.features) for name, seen in observed.items()}
        if "audio" in branches:
            branches["audio"] = branches["audio"][:, None]
        return Logits(
            fused=self.fusion(observed, batch.n_clips),
            branches=branches,
            rows={name: seen.rows for name, seen in observed.items()},
        )

    def predict(self, clips: Sequence[ClipInputs]) -> list[Prediction]:
        """Labels clips; see `EmotionModel.predict`.

        The scores of a branch are the mean of the softmax over its frames or slices ("averaged" in the paper's Table
        2). A missing modality is a zero slot in the fusion.
        """
        if self.training:
            raise RuntimeError("predict needs eval mode: call eval() on the model first")
        if not clips:
            return []
        with torch.inference_mode(), exact_float32():
            logits = self(self.collate(clips))
            fused = _array(logits.fused.softmax(dim=1))
            means = {name: _array(values.softmax(dim=2).mean(dim=1)) for name, values in logits.branches.items()}
        per_clip: list[dict[str, Float32Array]] = [{} for _ in clips]
        for name, values in means.items():
            for row, value in zip(logits.rows[name].tolist(), values, strict=True):
                per_clip[row][name] = value
        return [
            Prediction(
                fused[row] if seen else None, face=seen.get("face"), motion=seen.get("motion"), audio=seen.get("audio")
            )
            for row, seen in enumerate(per_clip)
        ]

    def _branch(self, name: str) -> Branch:
        branch = self.branches[name]
        assert isinstance(branch, Branch)
        return branch

    def _look(self, name: str, batch: VisualBatch, per_pass: int) -> Observed:
        views = _in_passes(lambda ids: self._branch(name).features(batch.crops[ids]), batch.views, per_pass)
        return Observed(views[batch.places], batch.rows)


def _in_passes(function: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    return torch.cat([function(part) for part in torch.split(inputs, size)])


def _array(values: Tensor) -> Float32Array:
    array: Float32Array = values.cpu().numpy().astype(np.float32)
    return array
