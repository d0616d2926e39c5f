"""What the pipeline, the bundles and training ask of every model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from emolabel.models.blocks.init import reset_parameters
from emolabel.models.exact import exact_float32
from emolabel.sampling import InputSpec
from emolabel.types import ClipInputs, Prediction


class EmotionModel(nn.Module, ABC):
    """A network that labels clips. `architecture` and `config` are all that is needed to build it again."""

    architecture: ClassVar[str]
    """Its name in the registry."""
    config: Any
    """A frozen dataclass; which one depends on the architecture."""

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU where it has none."""
        return next((weights.device for weights in self.parameters()), torch.device("cpu"))

    @property
    @abstractmethod
    def input_spec(self) -> InputSpec:
        """What it wants to see and hear of a window."""

    @abstractmethod
    def collate(self, clips: Sequence[ClipInputs]) -> Any:
        """Puts clips on the model's device, as `forward` takes them. Models of one config collate alike.

        Raises:
            ValueError: a clip does not fit `input_spec`.
        """

    @abstractmethod
    def predict_batch(self, batch: Any) -> list[Prediction]:
        """Labels what `collate` gave, one prediction per clip. Called in eval mode, without gradients."""

    def predict(self, clips: Sequence[ClipInputs]) -> list[Prediction]:
        """Labels clips, one prediction each, in their order.

        A clip's result does not depend on the clips around it (beyond float rounding, 1e-6). A clip with nothing that
        the model could see or hear gets a `Prediction` without probabilities.

        Raises:
            RuntimeError: the model is in training mode.
            ValueError: a clip does not fit `input_spec`.
        """
        return self.predict_collated(self.collate(clips)) if clips else []

    def predict_collated(self, batch: Any) -> list[Prediction]:
        """The same of clips that `collate` has put on the model's device. The answer is on the CPU.

        Raises:
            RuntimeError: the model is in training mode.
        """
        if self.training:
            raise RuntimeError("predict needs eval mode: call eval() on the model first")
        with torch.inference_mode(), exact_float32():
            return self.predict_batch(batch)

    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """Its parts by name (`face.trunk`, `fusion`), without overlap: each was pretrained, trained or left random."""

    def reset_parameters(self, seed: int) -> None:
        """Gives all weights fresh random values: the same seed, the same bits."""
        reset_parameters(self, seed)
