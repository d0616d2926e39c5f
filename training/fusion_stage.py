"""Phase 2: NetVLADs, their dense layers and the fusion, on features of frozen branches (Pini et al. 2017, 4.2).

The branches do not move and the clips are not augmented, so their features are computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from emolabel.labels import N_EMOTIONS
from emolabel.models.blocks.netvlad import NetVlad
from emolabel.models.pini2017 import Pini2017
from emolabel.models.pini2017.fusion import Observed
from training.clip_views import Caches, clip_views
from training.folds import Split
from training.losses import loss_weights, weighted_cross_entropy
from training.measure import Measured, evaluating, measured
from training.optimise import Trainer
from training.prepared import PreparedSet
from training.randomness import balanced, streams
from training.settings import StageSettings

STAGE = "fusion"
_CLIPS_PER_PASS = 8
_MOST_FOR_CENTRES = 20_000


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """Of one modality, on the CPU."""

    features: Tensor
    """(n, K, 256), or (n, 128) of sound."""
    place: Tensor
    """(clips,) which of the n belongs to each clip; -1: the clip lacks the modality."""

    def of(self, clips: Tensor, device: torch.device) -> Observed | None:
        """For a batch of clip numbers; None where none of them has the modality."""
        places = self.place[clips]
        rows = (places >= 0).nonzero()[:, 0]
        return Observed(self.features[places[rows]].to(device), rows.to(device)) if len(rows) else None


class FusionStage:
    """The fusion network and the features it learns from."""

    def __init__(
        self,
        model: Pini2017,
        settings: StageSettings,
        prepared: PreparedSet,
        split: Split,
        seed: int,
        caches: Caches,
    ) -> None:
        assert model.fusion is not None
        self._model, self._settings, self._seed = model, settings, seed
        self._fusion = model.fusion
        self._fusion.freeze(False)
        self._device = next(self._fusion.parameters()).device
        self._prepared, self._held_out = prepared, split.held_out
        self._labels = torch.tensor([prepared.samples[number].label for number in split.learnt])
        self._features = clip_features(model, prepared, split.learnt, caches)
        self._held_out_features = clip_features(model, prepared, split.held_out, caches)
        counts = torch.bincount(self._labels, minlength=N_EMOTIONS).tolist()
        self._weights = loss_weights(counts, settings)
        self._place_centres()
        n_batches = -(-len(self._labels) // settings.batch_size)
        self.trainer = Trainer(self._fusion, settings, settings.epochs * n_batches)

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the clips; mean loss and accuracy."""
        random, _ = streams(self._seed, STAGE, epoch)
        numbers = self._labels.numpy()
        order = torch.from_numpy(
            balanced(numbers, random) if self._settings.balance else random.permutation(len(numbers))
        )
        self._fusion.train()
        loss_sum, n_right, n_seen = 0.0, 0, 0
        for clips in torch.split(order, self._settings.batch_size):
            if len(clips) < 2 < len(order):
                continue  # batch norm cannot learn from one clip
            labels = self._labels[clips].to(self._device)
            logits = self._fuse(self._features, clips)
            loss = weighted_cross_entropy(logits, labels, self._weights)
            self.trainer.step(loss)
            loss_sum += float(loss.detach()) * len(clips)
            n_right += int((logits.argmax(dim=1) == labels).sum())
            n_seen += len(clips)
        return loss_sum / n_seen, n_right / n_seen

    def measure(self) -> Measured | None:
        """On the held-out samples; None where there are none."""
        if not self._held_out:
            return None
        with evaluating(self._model):
            logits = self._fuse(self._held_out_features, torch.arange(len(self._held_out)))
            return measured(logits.softmax(dim=1).cpu(), self._prepared, self._held_out)

    def finish(self) -> None:
        """Put the kept weights into the model."""
        self.trainer.keep()

    def _fuse(self, features: Mapping[str, ClipFeatures], clips: Tensor) -> Tensor:
        observed = {name: modality.of(clips, self._device) for name, modality in features.items()}
        logits: Tensor = self._fusion({name: seen for name, seen in observed.items() if seen is not None}, len(clips))
        return logits

    def _place_centres(self) -> None:
        """NetVLAD starts from k-means over the features that it will see (Arandjelovic et al., CVPR 2016)."""
        for name, features in self._features.items():
            slot = self._fusion.slots[name]
            if not isinstance(slot, nn.Sequential) or not isinstance(slot[0], NetVlad):
                continue
            random, _ = streams(self._seed, f"{name} centres", 0)
            every = features.features.flatten(0, 1).numpy()
            some = every[random.choice(len(every), min(len(every), _MOST_FOR_CENTRES), replace=False)]
            n_clusters = min(slot[0].centres.shape[0], len(some))
            found = KMeans(n_clusters, n_init=3, random_state=self._seed).fit(some).cluster_centers_
            centres = slot[0].centres.detach().clone()
            centres[:n_clusters] = torch.from_numpy(found).to(centres)
            slot[0].init_centres(centres)


def clip_features(
    model: Pini2017, prepared: PreparedSet, numbers: Sequence[int], caches: Caches
) -> Mapping[str, ClipFeatures]:
    """The features of each branch for these samples, without augmentation."""
    return {
        name: features
        for name in model.branches
        if (features := _modality(model, name, prepared, numbers, caches)) is not None
    }


def _modality(
    model: Pini2017, name: str, prepared: PreparedSet, numbers: Sequence[int], caches: Caches
) -> ClipFeatures | None:
    having = [n for n, number in enumerate(numbers) if getattr(prepared.samples[number], f"has_{name}")]
    if not having:
        return None
    parts = []
    with evaluating(model):
        for first in range(0, len(having), _CLIPS_PER_PASS):
            part = [numbers[n] for n in having[first : first + _CLIPS_PER_PASS]]
            features, present = clip_views(model, name, prepared, part, caches)
            if name == "audio":  # the fusion takes pictures one by one, sound as the mean over its pieces
                features = (features * present[..., None]).sum(dim=1) / present.sum(dim=1, keepdim=True)
            parts.append(features.cpu())
    place = torch.full((len(numbers),), -1)
    place[having] = torch.arange(len(having))
    return ClipFeatures(torch.cat(parts).clone(), place)  # a clone: what inference mode made cannot be learnt from
