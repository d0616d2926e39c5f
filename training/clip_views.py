"""The features of whole clips, view by view, from the clips themselves or from cached outputs of a trunk."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from emolabel.models.pini2017 import Pini2017
from emolabel.models.pini2017.branches import Branch
from emolabel.sampling import InputSpec
from training.prepared import PreparedSet
from training.trunk_cache import TrunkOutputs

Caches = Mapping[str, TrunkOutputs]
"""By branch, of the primary data set; a branch without one goes through its trunk."""


def clip_views(
    model: Pini2017, name: str, prepared: PreparedSet, numbers: Sequence[int], caches: Caches
) -> tuple[Tensor, Tensor]:
    """What a branch makes of some samples, which all have its modality.

    Returns:
        (n, K, D) features of frames, slices or pieces, and (n, K) which of them are there.
    """
    branch = model.branches[name]
    assert isinstance(branch, Branch)
    if name not in caches:
        spec = InputSpec(**{name: getattr(model.input_spec, name)})
        clips = [prepared.clip(number, spec) for number in numbers]
        views = model.views(model.collate(clips))[name]
        return views.features, views.present
    device = branch.classifier.weight.device
    features = []
    for number in numbers:
        sequence = prepared.crops(number, name)
        assert sequence is not None
        seen: Tensor = branch.head(caches[name].of(number).to(device))
        features.append(seen[torch.from_numpy(sequence.index).long()] if sequence.index.ndim == 1 else seen)
    stacked = torch.stack(features)
    return stacked, torch.ones(stacked.shape[:2], dtype=torch.bool, device=device)
