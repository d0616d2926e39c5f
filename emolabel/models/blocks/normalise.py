"""Input normalisation: a property of pretrained weights, so it travels in their bundle."""

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

Channels = Literal["RGB", "BGR", "GREY"]


@dataclass(frozen=True)
class PixelNorm:
    """How pixels of 0-255 become what a trunk was trained on."""

    whiten: bool = False
    """Per image `(x - mean) / max(std, 1 / sqrt(n))` over all n = H * W * 3 values; what follows is then unused."""
    channels: Channels = "RGB"
    """`GREY`: three times the luma of ITU-R BT.601, for networks that were trained on grey pictures."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted per channel, in 0-255 and in the order of `channels`."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divided by, likewise."""
    mean_cube: bool = False
    """A mean per pixel, (3, 16, 112, 112), is subtracted instead of `mean`; it lies with the weights."""

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(f"the standard deviations must be positive, got {self.std}")


WHITEN: Final = PixelNorm(whiten=True)
"""FaceNet's MS-Celeb-1M weights of 2017, which the paper used."""
FIXED: Final = PixelNorm(mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0))
"""facenet-pytorch's `vggface2` and `casia-webface` weights."""
RAW: Final = PixelNorm()
"""C3D: 0-255 as they are (https://github.com/DavideA/c3d-pytorch)."""
GREY: Final = PixelNorm(whiten=True, channels="GREY")
"""Neither colour nor light nor contrast: FER-2013 is grey."""
CAFFE: Final = PixelNorm(channels="BGR", mean_cube=True)
"""C3D as trained in Caffe, with the mean of its training videos."""

AUDIO_GAIN: Final = 256.0
"""SoundNet hears samples of -1 to 1 multiplied by this (https://github.com/eborboihuc/SoundNet-tensorflow)."""


_LUMA: Final = (0.299, 0.587, 0.114)


class Normalise(nn.Module):
    """Applies a `PixelNorm` to crops or slices, on the device where the model lives."""

    def __init__(self, norm: PixelNorm) -> None:
        super().__init__()
        self.norm = norm
        if norm.mean_cube:
            self.register_buffer("mean_cube", torch.zeros(3, 16, 112, 112))

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, ..., H, W, 3) RGB of 0-255, uint8 or float, to (N, 3, ..., H, W) float32."""
        x = torch.movedim(pixels, -1, 1).float()
        if self.norm.channels == "GREY":
            x = (x * _per_channel(_LUMA, x)).sum(dim=1, keepdim=True).expand_as(x)
        if self.norm.whiten:
            return _whiten(x)
        if self.norm.channels == "BGR":
            x = x.flip(1)
        mean = self.get_buffer("mean_cube") if self.norm.mean_cube else _per_channel(self.norm.mean, x)
        return (x - mean) / _per_channel(self.norm.std, x)


class Gain(nn.Module):
    """Multiplies sound by a fixed number: a clip's own maximum would make silence loud."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, samples: Tensor) -> Tensor:
        """(N, n) to (N, 1, n)."""
        return samples[:, None] * self.gain


def _whiten(x: Tensor) -> Tensor:
    values = x.flatten(1)
    std, mean = torch.std_mean(values, dim=1, correction=0, keepdim=True)
    return ((values - mean) / std.clamp_min(values.shape[1] ** -0.5)).view_as(x)


def _per_channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(3, *[1] * (like.ndim - 2))
