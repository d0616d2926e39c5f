"""A small residual face CNN for crops of 48 px, quick enough to be trained from random weights on a CPU."""

from typing import Final

import torch
from torch import Tensor, nn

from emolabel.models.blocks.frozen import Freezable

_STAGES: Final = ((48, 1), (96, 2), (192, 2), (256, 1))
"""Channels and residual blocks; each stage but the first halves the side."""


class CompactTrunk(Freezable):
    """48 px to 24 in a 5x5 stem, then residual stages of 24, 12, 6 and 3 px (He et al., CVPR 2016): 2.6 M parameters.

    Other sizes are averaged down to 3x3 at the end.
    """

    channels = _STAGES[-1][0]

    def __init__(self) -> None:
        super().__init__()
        n_in = _STAGES[0][0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, n_in, kernel_size=5, stride=2, padding=2, bias=False), nn.BatchNorm2d(n_in), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        for number, (n_out, depth) in enumerate(_STAGES):
            for position in range(depth):
                blocks.append(_Residual(n_in, n_out, stride=2 if number > 0 and position == 0 else 1))
                n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(3)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, S, S) normalised crops to (N, 256, 3, 3)."""
        features: Tensor = self.pool(self.blocks(self.stem(crops)))
        return features


class _Residual(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        change = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(change + self.shortcut(x))
