"""Initial weights: He et al. (ICCV 2015), reproducible to the bit on every machine."""

import math
import zlib

import numpy as np
import torch
from torch import nn

from emolabel.models.blocks.netvlad import NetVlad
from emolabel.types import Float32Array


def reset_parameters(module: nn.Module, seed: int) -> None:
    """Gives every parameter and batch-norm statistic of `module` a fresh value that depends on `seed` and its name.

    Weights with two or more dimensions get He's variance, 2 / fan-in, from a uniform distribution: its draws are exact
    on every machine, those of a Gaussian depend on the CPU's logarithm. Scales become 1 and shifts 0; recurrent weights
    lie within 1 / sqrt(hidden). NetVLAD gets random centres, and the assignment that belongs to them.
    """
    parts = dict(module.named_modules())
    for name, part in parts.items():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.reset_running_stats()
        for parameter_name, parameter in part.named_parameters(recurse=False):
            values = _values(part, parameter_name, parameter, _stream(f"{name}.{parameter_name}", seed))
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(values))
    for part in parts.values():
        if isinstance(part, NetVlad):
            part.init_centres(part.centres.detach().clone())


def _stream(name: str, seed: int) -> np.random.Generator:
    """A stream per name: adding a branch does not change the others."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _values(part: nn.Module, name: str, parameter: nn.Parameter, stream: np.random.Generator) -> Float32Array:
    shape = tuple(parameter.shape)
    if isinstance(part, nn.LSTM):
        return _uniform(shape, 1 / math.sqrt(part.hidden_size), stream)
    if isinstance(part, NetVlad):
        return _uniform(shape, 1 / math.sqrt(part.dim), stream)
    if parameter.ndim < 2:
        return np.full(shape, 0 if name.startswith("bias") else 1, dtype=np.float32)
    return _uniform(shape, math.sqrt(6 / parameter[0].numel()), stream)


def _uniform(shape: tuple[int, ...], bound: float, stream: np.random.Generator) -> Float32Array:
    """Values in `[-bound, bound)`; their variance is bound^2 / 3."""
    unit: Float32Array = stream.random(shape, dtype=np.float32)
    values: Float32Array = (unit * np.float32(2) - np.float32(1)) * np.float32(bound)
    return values
