"""Random changes of face crops, on the device where the model lives (Pini et al. 2017, 4.2: flip, crop and zoom)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.settings import AugmentSettings

_SHRUNK = (0.4, 0.9)
_ERASED = (0.1, 0.4)
"""Smallest and greatest part of the side."""


def augment(crops: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """One draw for each item of a batch; a slice of frames moves as one.

    Args:
        crops: (N, S, S, 3) or (N, L, S, S, 3), 0-255.
        generator: of random numbers, on the CPU.

    Returns:
        The same shape, float32, 0-255.
    """
    slices = crops.ndim == 5
    length = crops.shape[1] if slices else 1
    frames = torch.movedim(crops.flatten(0, 1) if slices else crops, -1, 1).float()  # (N * L, 3, S, S)
    draw = _Draw(len(crops), length, generator, frames.device)
    frames = _moved(frames, settings, draw)
    if settings.blur:
        frames = _blurred(frames, settings.blur, draw)
    if settings.gamma > 1:
        exponent = draw.factor(settings.gamma).view(-1, 1, 1, 1)
        frames = 255 * (frames.clamp(0, 255) / 255) ** exponent
    if settings.erase:
        frames = _erased(frames, settings.erase, draw)
    return torch.movedim(frames, 1, -1).reshape(crops.shape)


class _Draw:
    """Random numbers for N items, each repeated for the L frames of its slice."""

    def __init__(self, n: int, length: int, generator: torch.Generator, device: torch.device) -> None:
        self._n, self._length, self._generator, self._device = n, length, generator, device

    def uniform(self, low: float, high: float) -> Tensor:
        values = torch.rand(self._n, generator=self._generator) * (high - low) + low
        return values.repeat_interleave(self._length).to(self._device)

    def factor(self, greatest: float) -> Tensor:
        """Between 1 / greatest and greatest, both ways equally likely."""
        return torch.exp(self.uniform(-1, 1) * math.log(greatest))

    def happens(self, probability: float) -> Tensor:
        return self.uniform(0, 1) < probability


def _moved(frames: Tensor, settings: AugmentSettings, draw: _Draw) -> Tensor:
    """Flip, zoom, stretch, rotation and shift in one sampling; the edge is continued."""
    zoom, stretch = draw.factor(settings.zoom), draw.factor(settings.stretch)
    angle = draw.uniform(-1, 1) * math.radians(settings.rotate_deg)
    mirror = torch.where(draw.happens(settings.flip), -1.0, 1.0)
    x, y = (draw.uniform(-1, 1) * 2 * settings.shift for _ in range(2))  # the picture reaches from -1 to 1
    across = torch.stack([torch.cos(angle) * zoom * stretch * mirror, -torch.sin(angle) * zoom, x], dim=1)
    down = torch.stack([torch.sin(angle) * zoom * stretch * mirror, torch.cos(angle) * zoom, y], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)


def _blurred(frames: Tensor, probability: float, draw: _Draw) -> Tensor:
    """One size for the whole batch: sampling each item at its own size would take a loop."""
    chosen = draw.happens(probability)
    side = frames.shape[-1]
    small = max(8, round(side * float(draw.uniform(*_SHRUNK)[0])))
    shrunk = F.interpolate(frames[chosen], size=small, mode="bilinear", antialias=True) if chosen.any() else None
    if shrunk is None:
        return frames
    return frames.index_put((chosen,), F.interpolate(shrunk, size=side, mode="bilinear"))


def _erased(frames: Tensor, probability: float, draw: _Draw) -> Tensor:
    side = frames.shape[-1]
    width, height = (draw.uniform(*_ERASED) * side for _ in range(2))
    left, top = draw.uniform(0, 1) * (side - width), draw.uniform(0, 1) * (side - height)
    places = torch.arange(side, device=frames.device) + 0.5
    inside_x = (places >= left[:, None]) & (places < (left + width)[:, None])
    inside_y = (places >= top[:, None]) & (places < (top + height)[:, None])
    hidden = inside_y[:, :, None] & inside_x[:, None, :] & draw.happens(probability)[:, None, None]
    grey = draw.uniform(0, 255).view(-1, 1, 1, 1)
    return torch.where(hidden[:, None], grey, frames)
