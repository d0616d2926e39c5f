"""What one branch learns from: frames, slices or stretches of sound, drawn from clips anew in each epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from emolabel.types import Float32Array, UInt8Array
from training.prepared import PreparedSet
from training.randomness import balanced
from training.settings import SoundSettings
from training.sound import stretch_of
from training.trunk_cache import TrunkOutputs

_MANY = 1_000


@dataclass(frozen=True)
class View:
    """A frame or slice of a sample; of sound any stretch, which `Views.batch` draws."""

    set_name: str
    sample: int
    place: int


@dataclass(frozen=True)
class Listening:
    """How recordings are heard."""

    rate_hz: int
    n_samples: int
    """What the model hears at once."""
    settings: SoundSettings

    def length(self, random: np.random.Generator) -> int:
        """Samples of each stretch in a batch."""
        seconds = self.settings.seconds
        return self.n_samples if seconds is None else round(random.uniform(*seconds) * self.rate_hz)


class Views:
    """Draws views of samples that have the modality, and makes batches of them."""

    def __init__(
        self,
        sets: Mapping[str, PreparedSet],
        chosen: Mapping[str, Sequence[int]],
        modality: str,
        sound: Listening | None = None,
        caches: Mapping[str, TrunkOutputs] | None = None,
    ) -> None:
        """Args:
            chosen: numbers of the samples that may be drawn, by data set.
            sound: how recordings are heard; None for pictures.
            caches: by data set; batches then hold the trunk's outputs.

        Raises:
            TrainingError: none of them has the modality.
        """
        self._sets, self._modality = sets, modality
        self._sound, self._caches = sound, caches or {}
        self.items = [
            (name, number)
            for name, numbers in chosen.items()
            for number in numbers
            if getattr(sets[name].samples[number], f"has_{modality}")
        ]
        if not self.items:
            raise TrainingError(f"no sample to learn from has anything for the {modality} branch")
        self.labels = np.array([sets[name].samples[number].label for name, number in self.items])
        self._n_places = [self._places(*item) for item in self.items]

    @property
    def counts(self) -> list[int]:
        """Samples of each class."""
        counts: list[int] = np.bincount(self.labels, minlength=len(EMOTIONS)).tolist()
        return counts

    def drawn(self, per_clip: int, balance: bool, random: np.random.Generator) -> list[View]:
        """The views of one epoch, shuffled: of each clip up to `per_clip` different ones.

        Args:
            balance: draw clips of all classes equally often, as many in all.
        """
        numbers = balanced(self.labels, random) if balance else np.arange(len(self.items))
        views = []
        for number in numbers.tolist():
            n = self._n_places[number]
            places = random.choice(n, min(per_clip, n), replace=False) if n > 1 else [0]
            set_name, sample = self.items[number]
            views += [View(set_name, sample, int(place)) for place in places]
        random.shuffle(views)
        return views

    def batch(self, views: Sequence[View], random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs of the branch, as stored, and class numbers (N,)."""
        labels = torch.tensor([self._sets[view.set_name].samples[view.sample].label for view in views])
        if self._caches:
            return torch.stack([self._caches[view.set_name].of(view.sample, view.place) for view in views]), labels
        length = 0 if self._sound is None else self._sound.length(random)
        return torch.from_numpy(np.stack([self._view(view, length, random) for view in views])), labels

    def _places(self, name: str, number: int) -> int:
        """How many different views a sample has; of sound as many as are asked for."""
        if self._sound is not None:
            return _MANY
        sequence = self._sets[name].crops(number, self._modality)
        assert sequence is not None
        return len(sequence.crops) if sequence.index.ndim == 1 else len(sequence.index)

    def _view(self, view: View, length: int, random: np.random.Generator) -> UInt8Array | Float32Array:
        prepared = self._sets[view.set_name]
        if self._sound is not None:
            sound = prepared.sound(view.sample)
            assert sound is not None
            return stretch_of(sound, length, self._sound.rate_hz, self._sound.settings, random)
        sequence = prepared.crops(view.sample, self._modality)
        assert sequence is not None
        chosen = view.place if sequence.index.ndim == 1 else sequence.index[view.place]
        crops: UInt8Array = sequence.crops[chosen]
        return crops
