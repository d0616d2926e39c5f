"""Trained dense layers."""

from torch import nn


def dense(n_in: int, n_out: int, keep: float) -> tuple[nn.Module, ...]:
    """Layers of FC, batch norm, ReLU, dropout (Pini et al. 2017, 4.2). `keep` is the share that dropout keeps.

    The FC has no bias: the shift of the batch norm behind it does the same.
    """
    return nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(1 - keep)
