"""SoundNet's first four layers (Aytar et al., NIPS 2016), one-dimensional."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emolabel.models.blocks.frozen import Freezable

Padding = Literal["same", "original"]


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after that make a convolution's output `ceil(length / stride)` long, as TensorFlow's SAME.

    >>> same_padding(22_050, kernel=64, stride=2)
    (31, 31)
    >>> same_padding(43, kernel=8, stride=2)
    (3, 4)
    """
    out = -(-length // stride)
    total = max((out - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class PaddedConv1d(nn.Conv1d):
    """A convolution padded as TensorFlow's SAME, or with half the kernel on both sides as in SoundNet's own code."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, padding: Padding, bias: bool = True) -> None:
        super().__init__(n_in, n_out, kernel, stride, bias=bias)
        self.padding_rule = padding

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, n) to (N, C', n')."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        half = kernel // 2
        pads = same_padding(x.shape[2], kernel, stride) if self.padding_rule == "same" else (half, half)
        return super().forward(F.pad(x, pads))


class SoundNetTrunk(Freezable):
    """Sound to a short sequence of features.

    SAME padding turns one second at 22,050 Hz into the 22 steps that Pini et al. (2017) report; SoundNet's own
    symmetric padding, which its published weights were trained with, gives 23.
    """

    channels = 128

    def __init__(self, padding: Padding = "same") -> None:
        super().__init__()
        self.conv1 = PaddedConv1d(1, 16, 64, 2, padding)
        self.bn1 = nn.BatchNorm1d(16)
        self.conv2 = PaddedConv1d(16, 32, 32, 2, padding)
        self.bn2 = nn.BatchNorm1d(32)
        self.conv3 = PaddedConv1d(32, 64, 16, 2, padding)
        self.bn3 = nn.BatchNorm1d(64)
        self.conv4 = PaddedConv1d(64, 128, 8, 2, padding)
        self.bn4 = nn.BatchNorm1d(128)
        self.pool = nn.MaxPool1d(8)

    def forward(self, sound: Tensor) -> Tensor:
        """(N, 1, n) scaled samples to (N, 128, steps)."""
        x = self.pool(torch.relu(self.bn1(self.conv1(sound))))
        x = self.pool(torch.relu(self.bn2(self.conv2(x))))
        x = torch.relu(self.bn3(self.conv3(x)))
        return torch.relu(self.bn4(self.conv4(x)))
