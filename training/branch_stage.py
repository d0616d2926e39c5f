"""Phase 1: one branch alone, with its own classifier (Pini et al. 2017, 4.2)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from emolabel.labels import N_EMOTIONS
from emolabel.models.pini2017 import Pini2017
from emolabel.models.pini2017.branches import Branch
from training.augment import augment
from training.background import background
from training.losses import loss_weights, weighted_cross_entropy
from training.optimise import Trainer
from training.prepared import PreparedSet
from training.randomness import streams
from training.settings import StageSettings
from training.trunk_cache import TrunkOutputs
from training.views import Listening, View, Views


class BranchStage:
    """A branch of the model and the views it learns from."""

    def __init__(
        self,
        model: Pini2017,
        name: str,
        settings: StageSettings,
        sets: Mapping[str, PreparedSet],
        learnt: Mapping[str, Sequence[int]],
        seed: int,
        caches: Mapping[str, TrunkOutputs],
    ) -> None:
        """Args:
        learnt: numbers of the samples that are learnt from, by data set.
        caches: outputs of the trunk, by data set; empty where it is not cached.

        Raises:
            TrainingError: the sets have nothing for this branch, or were prepared for another model.
        """
        branch = model.branches[name]
        assert isinstance(branch, Branch)
        self._name, self._settings, self._seed = name, settings, seed
        self._branch = branch
        branch.freeze(False)
        branch.trunk.freeze(not settings.train_trunk)
        self._audio = model.config.audio if name == "audio" else None
        sound = None
        if self._audio is not None:
            rate_hz = self._audio.sampling.sample_rate_hz
            sound = Listening(rate_hz, self._audio.piece_samples, settings.sound)
        self._views = Views(sets, learnt, name, sound, caches)
        self._weights = loss_weights(self._views.counts, settings)
        self._device = branch.classifier.weight.device
        views = self._views.drawn(settings.views_per_clip, settings.balance, streams(seed, name, 0)[0])
        self.trainer = Trainer(branch, settings, settings.epochs * len(list(_batches(views, settings.batch_size))))

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over fresh views of all clips; mean loss, and accuracy on them as they were shown."""
        random, generator = streams(self._seed, self._name, epoch)
        views = self._views.drawn(self._settings.views_per_clip, self._settings.balance, random)
        self._branch.train()
        loss_sum, n_right = 0.0, 0
        for batch in _batches(views, self._settings.batch_size):
            inputs, labels = self._views.batch(batch, random)
            inputs, targets = self._shown(inputs.to(self._device), labels.to(self._device), random, generator)
            with _autocast(self._device, self._settings.bf16):
                logits = self._scores(inputs)
            loss = weighted_cross_entropy(logits.float(), targets, self._weights.to(self._device))
            self.trainer.step(loss)
            loss_sum += float(loss.detach()) * len(batch)
            n_right += int((logits[: len(batch)].argmax(dim=1) == targets[: len(batch)].argmax(dim=1)).sum())
        return loss_sum / len(views), n_right / len(views)

    def finish(self) -> None:
        """Put the kept weights into the model and freeze the branch, as phase 2 needs it."""
        self.trainer.keep()
        self._branch.freeze()

    def _scores(self, inputs: Tensor) -> Tensor:
        features = self._branch.head(inputs) if self._settings.cache_trunk else self._branch.features(inputs)
        logits: Tensor = self._branch.classifier(features)
        return logits

    def _shown(
        self, inputs: Tensor, labels: Tensor, random: np.random.Generator, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Inputs as the branch gets them, and the shares of each class that it should answer."""
        settings = self._settings
        targets = F.one_hot(labels, N_EMOTIONS).float()
        targets = targets * (1 - settings.label_smoothing) + settings.label_smoothing / N_EMOTIONS
        if self._audio is None and not settings.cache_trunk:
            inputs = augment(inputs, settings.augment, generator)
        if settings.mixup and random.random() < 0.5:
            share = random.beta(settings.mixup, settings.mixup)
            partner = torch.randperm(len(inputs), generator=generator).to(self._device)
            inputs = share * inputs + (1 - share) * inputs[partner]
            targets = share * targets + (1 - share) * targets[partner]
        if self._audio is not None and settings.background:
            n = round(len(inputs) * settings.background / (1 - settings.background))
            rate_hz = self._audio.sampling.sample_rate_hz
            sounds = torch.from_numpy(background(max(n, 1), inputs.shape[1], rate_hz, random)).to(self._device)
            inputs = torch.cat([inputs, sounds])
            targets = torch.cat([targets, torch.full((len(sounds), N_EMOTIONS), 1 / N_EMOTIONS, device=self._device)])
        return inputs, targets


def _batches(views: list[View], size: int) -> Iterator[list[View]]:
    """A last batch of one is left out: batch norm cannot learn from it."""
    for first in range(0, len(views), size):
        batch = views[first : first + size]
        if len(batch) > 1 or len(views) == 1:
            yield batch


def _autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
