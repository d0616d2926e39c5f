"""Optimiser, learning rate over time, and the moving average of the weights, as one thing that can be saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.settings import StageSettings

_WARM_UP = 0.15
"""Of a one-cycle schedule: the part of the steps in which the rate rises."""
_MOMENTUM = 0.9


class Trainer:
    """Takes steps on a network, and keeps a moving average of its weights where the settings ask for one."""

    def __init__(self, network: nn.Module, settings: StageSettings, n_steps: int) -> None:
        """Args:
        n_steps: how many there will be, about: a schedule that is at its end stays there.
        """
        self.network = network
        self._n_steps = n_steps
        self._optimiser = _optimiser(network, settings)
        self._schedule = _schedule(self._optimiser, settings, n_steps)
        average = get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]  # torch has no type for it
        self._average = AveragedModel(network, multi_avg_fn=average, use_buffers=True) if settings.average else None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Inside, the network has the averaged weights, where there are any."""
        if self._average is None:
            yield
            return
        learning = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.keep()
        try:
            yield
        finally:
            self.network.load_state_dict(learning)

    def keep(self) -> None:
        """Give the network the averaged weights for good."""
        if self._average is not None:
            self.network.load_state_dict(self._average.module.state_dict())

    def step(self, loss: Tensor) -> None:
        """Go one step down the gradient of `loss`."""
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        self._optimiser.step()
        if self._schedule is not None and self._schedule.last_epoch + 1 < self._n_steps:
            self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self.network)

    def state(self) -> dict[str, Any]:
        """What has to be saved to go on later, beside the network itself."""
        return {
            "optimiser": self._optimiser.state_dict(),
            "schedule": None if self._schedule is None else self._schedule.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._optimiser.load_state_dict(state["optimiser"])
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])


def _optimiser(network: nn.Module, settings: StageSettings) -> torch.optim.Optimizer:
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(learning, rate, momentum=_MOMENTUM, nesterov=True, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(learning, rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)


def _schedule(
    optimiser: torch.optim.Optimizer, settings: StageSettings, n_steps: int
) -> torch.optim.lr_scheduler.OneCycleLR | None:
    if settings.schedule == "constant":
        return None
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=n_steps, pct_start=_WARM_UP
    )
