"""The fusion network: features of all branches to seven logits (paper, 3.4)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emolabel.labels import N_EMOTIONS
from emolabel.models.blocks.dense import dense
from emolabel.models.blocks.frozen import Freezable
from emolabel.models.blocks.netvlad import NetVlad
from emolabel.models.pini2017.branches import AUDIO_DIM, VISUAL_DIM
from emolabel.models.pini2017.config import Pini2017Config

SLOT_DIM = 128


@dataclass(frozen=True, eq=False)
class Observed:
    """The features of one modality, for those clips of a batch that have it."""

    features: Tensor
    """(n, T, 256) of frames or slices, or (n, 128) of sound."""
    rows: Tensor
    """(n,) which clips of the batch they belong to."""


class FusionNetwork(Freezable):
    """A slot of 128 values per branch, side by side, then two dense layers.

    ```
    face   (T, 256) -> NetVLAD (2048) -> dense 128 -.
    motion (T, 256) -> NetVLAD (2048) -> dense 128 --+-> dense 128 -> 7
    audio  (128) -----------------------------------'
    ```
    A clip without a modality has zeros in its slot. Such clips are left out of the batch statistics before it.
    """

    def __init__(self, config: Pini2017Config) -> None:
        super().__init__()
        fusion = config.fusion
        assert fusion is not None
        slots: dict[str, nn.Module] = {}
        for name, branch in (("face", config.face), ("motion", config.motion)):
            if branch is not None:
                slots[name] = nn.Sequential(
                    NetVlad(fusion.clusters, VISUAL_DIM, fusion.alpha),
                    *dense(fusion.clusters * VISUAL_DIM, SLOT_DIM, fusion.keep),
                )
        if config.audio is not None:
            assert AUDIO_DIM == SLOT_DIM
            slots["audio"] = nn.Identity()
        self.slots = nn.ModuleDict(slots)
        self.dense = nn.Sequential(*dense(SLOT_DIM * len(slots), SLOT_DIM, fusion.keep))
        self.classifier = nn.Linear(SLOT_DIM, N_EMOTIONS)

    def forward(self, observed: Mapping[str, Observed], n_clips: int) -> Tensor:
        """(n_clips, 7) logits. A modality that no clip has may be left out of `observed`."""
        slots = [self._slot(name, module, observed.get(name), n_clips) for name, module in self.slots.items()]
        logits: Tensor = self.classifier(self.dense(torch.cat(slots, dim=1)))
        return logits

    def _slot(self, name: str, module: nn.Module, observed: Observed | None, n_clips: int) -> Tensor:
        empty = torch.zeros(n_clips, SLOT_DIM, device=self.classifier.weight.device)
        if observed is None:
            return empty
        return empty.index_copy(0, observed.rows, module(observed.features))
