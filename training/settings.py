"""Settings of a training run, as a TOML file holds them. `training/configs/` has the paper's submissions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli

from emolabel.errors import ConfigError
from emolabel.labels import MODALITIES
from emolabel.models.pini2017 import Pini2017Config
from emolabel.models.strict import from_plain, to_plain


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class AugmentSettings:
    """Random changes of crops; a slice gets one draw for all of its frames. The paper names flip, crop and zoom."""

    flip: float = 0.5
    """Probability of a mirror image."""
    zoom: float = 1.15
    """Up to this factor closer or farther."""
    shift: float = 0.08
    """Up to this part of the side, in both directions."""
    rotate_deg: float = 0.0
    stretch: float = 1.0
    """Up to this factor wider or higher."""
    gamma: float = 1.0
    """Up to this exponent, or its inverse, on brightness of 0-1."""
    blur: float = 0.0
    """Probability of a lower resolution: a crop shrunk to 40-90 % and grown again."""
    erase: float = 0.0
    """Probability of a rectangle of one grey value that hides a part."""

    def __post_init__(self) -> None:
        for name in ("flip", "blur", "erase"):
            _require(0 <= getattr(self, name) <= 1, f"{name} is a probability, got {getattr(self, name)}")
        for name in ("zoom", "stretch", "gamma"):
            _require(getattr(self, name) >= 1, f"{name} is a factor of at least 1, got {getattr(self, name)}")
        _require(0 <= self.shift < 0.5, f"shift must lie in 0-0.5, got {self.shift}")


@dataclass(frozen=True)
class SoundSettings:
    """Which stretches of a recording are heard, and how they are changed. The paper: a random second, as it is."""

    seconds: tuple[float, float] | None = None
    """Shortest and longest stretch, one length for a whole batch; None: what the model hears at once."""
    around_speech: bool = False
    """Take them from the active part, with up to half a second around it; what is shorter lies anywhere in silence."""
    speed: float = 1.0
    """Up to this factor faster or slower, with the pitch."""
    noise: float = 0.0
    """Probability of noise, 3-35 dB below the sound."""

    def __post_init__(self) -> None:
        _require(self.seconds is None or 0 < self.seconds[0] <= self.seconds[1], "seconds: shortest, then longest")
        _require(1 <= self.speed <= 2, f"speed is a factor of 1-2, got {self.speed}")
        _require(0 <= self.noise <= 1, f"noise is a probability, got {self.noise}")


@dataclass(frozen=True)
class StageSettings:
    """How one network is trained: a branch in phase 1, or the fusion in phase 2."""

    epochs: int
    learning_rate: float
    batch_size: int
    sets: tuple[str, ...] = ()
    """Data sets it learns from, by the names given with `--set`; empty: the primary one. The fusion: the primary."""
    stop_after: int | None = None
    """Epochs after which it ends, before its schedule does: early stopping, at an epoch chosen on held-out samples."""
    views_per_clip: int = 8
    """Frames, slices or pieces of sound drawn from each clip in an epoch; a picture has just one."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    loss: Literal["plain", "weighted"] = "plain"
    """`weighted` raises the frequent classes (paper, 3.5)."""
    weight_strength: float = 1.0
    """Of the weighted loss; see `losses.class_weights`."""
    balance: bool = False
    """Draw all classes equally often."""
    label_smoothing: float = 0.0
    mixup: float = 0.0
    """Alpha of mixup's Beta distribution, used for half of the batches; 0: none (Zhang et al., ICLR 2018)."""
    average: float = 0.0
    """Decay of a moving average of the weights, which is what is kept; 0: none."""
    train_trunk: bool = False
    """Train the backbone too. Off in the paper, where it over-fitted early."""
    cache_trunk: bool = False
    """Learn from the trunk's outputs on crops that are not augmented, computed once for all epochs and folds: many
    times faster. Needs a trunk that is not trained, and is not for sound, of which each epoch hears another second."""
    bf16: bool = False
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    sound: SoundSettings = field(default_factory=SoundSettings)
    background: float = 0.0
    """Sound only: share of the batch that is noise, hiss or tones, with all emotions equally likely."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "views_per_clip"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        _require(self.stop_after is None or 0 < self.stop_after <= self.epochs, "stop_after must lie in 1 to epochs")
        _require(self.learning_rate > 0, f"the learning rate must be positive, got {self.learning_rate}")
        for name in ("label_smoothing", "average", "background"):
            _require(0 <= getattr(self, name) < 1, f"{name} must lie in [0, 1), got {getattr(self, name)}")
        _require(not (self.cache_trunk and self.train_trunk), "the outputs of a trunk that is trained cannot be cached")
        for name in ("mixup", "weight_decay"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class FoldSettings:
    """Which clips a fold's network does not see: they are what it is measured on."""

    count: int = 5
    of: Literal["validation", "all"] = "validation"
    """`validation`: the primary set's validation split is cut, its training split always learnt from (the paper's
    protocol). `all`: the whole primary set is cut (group k-fold)."""

    def __post_init__(self) -> None:
        _require(self.count >= 2, f"at least two folds, got {self.count}")


@dataclass(frozen=True)
class TrainSettings:
    """The whole procedure: phase 1 for each branch, then phase 2."""

    name: str
    primary: str
    """The data set that folds are made of and the fusion learns from."""
    model: Pini2017Config = field(default_factory=Pini2017Config)
    start: str | None = None
    """A bundle with the same model whose trained parts are taken over (imported trunks); None: random weights."""
    start_branches: tuple[str, ...] = ()
    """Only of these branches; empty: of all."""
    seed: int = 2017
    face: StageSettings | None = None
    motion: StageSettings | None = None
    audio: StageSettings | None = None
    fusion: StageSettings | None = None
    folds: FoldSettings = field(default_factory=FoldSettings)

    def __post_init__(self) -> None:
        for name in MODALITIES:
            _require(
                (getattr(self.model, name) is None) == (getattr(self, name) is None),
                f"the model and the settings must agree on having a stage {name!r}",
            )
        _require(
            (self.model.fusion is None) == (self.fusion is None), "the model and the settings must agree on a fusion"
        )
        _require(self.audio is None or not self.audio.cache_trunk, "the outputs of the audio trunk cannot be cached")
        unknown = set(self.start_branches) - set(MODALITIES)
        _require(not unknown, f"there is no branch {', '.join(sorted(unknown))}")
        _require(not self.start_branches or self.start is not None, "branches are taken over, but from what bundle?")
        _require(self.seed >= 0, f"a seed must not be negative, got {self.seed}")

    @property
    def stages(self) -> dict[str, StageSettings]:
        """What is trained, in order."""
        named = {name: getattr(self, name) for name in (*MODALITIES, "fusion")}
        return {name: stage for name, stage in named.items() if stage is not None}

    @property
    def set_names(self) -> tuple[str, ...]:
        """The data sets that have to be given."""
        names = [self.primary, *(name for stage in self.stages.values() for name in stage.sets)]
        return tuple(dict.fromkeys(names))

    def to_plain(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def read_settings(path: str | Path) -> TrainSettings:
    """Reads a TOML file.

    Raises:
        ConfigError: it cannot be read, or holds something that is no setting.
    """
    try:
        data = tomli.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the training settings {path}: {error}") from error
    return settings_of(data, str(path))


def settings_of(data: Mapping[str, Any], where: str) -> TrainSettings:
    """The same from plain values.

    Raises:
        ConfigError: something in it is no setting.
    """
    model = data.get("model", {})
    # TOML has no null: a branch or a fusion that the model is to do without is `false`.
    cleaned = {**data, "model": {key: None if value is False else value for key, value in model.items()}}
    try:
        return from_plain(TrainSettings, cleaned, where)
    except ValueError as error:
        raise ConfigError(str(error)) from error
