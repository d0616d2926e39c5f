"""Modules that can be taken out of training as a whole."""

from torch import nn


class Freezable(nn.Module):
    """A module that, while frozen, stays in eval mode and asks for no gradients.

    In the paper pretrained trunks are frozen in phase 1 and whole branches in phase 2; their batch-norm statistics
    and dropout must then not move, also when `train()` is called on the network around them (Pini 2017, 3.5).
    """

    frozen: bool = False

    def freeze(self, frozen: bool = True) -> None:
        """Freezes or thaws this module. Frozen modules inside it stay frozen either way."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        for inner in self.modules():
            if isinstance(inner, Freezable) and inner.frozen:
                inner.requires_grad_(False)
        self.train(not frozen)

    def train(self, mode: bool = True) -> "Freezable":
        """Sets training mode, which a frozen module ignores."""
        super().train(mode and not self.frozen)
        return self
