"""Several models of one kind that vote: folds of a cross-validation, or runs with other seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import nn

from emolabel.models.base import EmotionModel
from emolabel.models.strict import to_plain
from emolabel.sampling import InputSpec
from emolabel.types import ClipInputs, Float32Array, Prediction

MAX_MEMBERS: Final = 32


@dataclass(frozen=True)
class EnsembleConfig:
    """Members of the same architecture and config; only their weights differ."""

    architecture: str
    """Of each member, by its name in the registry."""
    config: dict[str, Any]
    """Of each member."""
    size: int
    """How many there are."""

    def __post_init__(self) -> None:
        if self.architecture == Ensemble.architecture:
            raise ValueError("an ensemble has no ensembles as members")
        if not 2 <= self.size <= MAX_MEMBERS:
            raise ValueError(f"an ensemble has 2-{MAX_MEMBERS} members, got {self.size}")


class Ensemble(EmotionModel):
    """Gives the mean of its members' probabilities, fused and per branch, and says how far they agree.

    `agreement` is the share of members (0-1) whose own dominant emotion is the ensemble's. It can be 0, where all are
    split and the mean prefers a class that is second everywhere.
    """

    architecture = "ensemble"
    config: EnsembleConfig

    def __init__(self, members: Sequence[EmotionModel]) -> None:
        """
        Raises:
            ValueError: too few or too many members, or members that differ in more than their weights.
        """
        super().__init__()
        first = members[0]
        for i, other in enumerate(members[1:], start=1):
            if (other.architecture, other.config) != (first.architecture, first.config):
                raise ValueError(f"member {i} has another architecture or config than member 0")
        self.config = EnsembleConfig(first.architecture, to_plain(first.config), len(members))
        self.members = nn.ModuleList(members)

    @classmethod
    def build(cls, config: EnsembleConfig, build_member: Callable[[str, object], EmotionModel]) -> "Ensemble":
        """An ensemble whose members `build_member` makes of their architecture and config."""
        return cls([build_member(config.architecture, config.config) for _ in range(config.size)])

    @property
    def each(self) -> tuple[EmotionModel, ...]:
        """The members, typed."""
        return tuple(member for member in self.members if isinstance(member, EmotionModel))

    @property
    def input_spec(self) -> InputSpec:
        """What each member wants to see and hear of a window."""
        return self.each[0].input_spec

    def parts(self) -> Mapping[str, nn.Module]:
        """The parts of each member: `members.0.face.trunk`, and so on."""
        return {
            f"members.{i}.{name}": part for i, member in enumerate(self.each) for name, part in member.parts().items()
        }

    def collate(self, clips: Sequence[ClipInputs]) -> Any:
        """The batch that every member takes: clips are brought to the device once."""
        return self.each[0].collate(clips)

    def forward(self, batch: Any) -> list[Any]:
        """What each member says of a batch."""
        return [member(batch) for member in self.each]

    def predict_batch(self, batch: Any) -> list[Prediction]:
        """Labels clips; see `EmotionModel.predict` and this class."""
        votes = [member.predict_batch(batch) for member in self.each]
        return [average(clip) for clip in zip(*votes, strict=True)]


def average(votes: Sequence[Prediction]) -> Prediction:
    """What the members together say of one clip. What no member gives is None."""
    probabilities = _mean_scores([vote.probabilities for vote in votes])
    return Prediction(
        probabilities=probabilities,
        face=_mean_scores([vote.face for vote in votes]),
        motion=_mean_scores([vote.motion for vote in votes]),
        audio=_mean_scores([vote.audio for vote in votes]),
        valence=_mean([vote.valence for vote in votes]),
        arousal=_mean([vote.arousal for vote in votes]),
        agreement=None if probabilities is None else _agreement(votes, int(probabilities.argmax())),
    )


def _agreement(votes: Sequence[Prediction], dominant: int) -> float:
    own = [int(vote.probabilities.argmax()) for vote in votes if vote.probabilities is not None]
    return own.count(dominant) / len(own)


def _mean_scores(values: Sequence[Float32Array | None]) -> Float32Array | None:
    # Members of one config see and hear the same: all of them give scores, or none does.
    given = [value for value in values if value is not None]
    if not given:
        return None
    # In double: the mean of equal values is then that value, to the bit.
    mean: Float32Array = np.stack(given).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return sum(given) / len(given) if given else None
