"""C3D convolutions (Tran et al., ICCV 2015), up to and with pool5."""

import torch
from torch import Tensor, nn

from emolabel.models.blocks.frozen import Freezable

SLICE_LENGTH = 16
SLICE_PX = 112

_CHANNELS = {
    "conv1": (3, 64),
    "conv2": (64, 128),
    "conv3a": (128, 256),
    "conv3b": (256, 256),
    "conv4a": (256, 512),
    "conv4b": (512, 512),
    "conv5a": (512, 512),
    "conv5b": (512, 512),
}


class C3dTrunk(Freezable):
    """Slices of 16 frames to feature maps.

    Layer names are those of the PyTorch port by the paper's own lab (https://github.com/DavideA/c3d-pytorch), which
    also says how pool5 is padded.
    """

    channels = 512

    def __init__(self) -> None:
        super().__init__()
        for name, (n_in, n_out) in _CHANNELS.items():
            self.add_module(name, nn.Conv3d(n_in, n_out, kernel_size=3, padding=1))
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool = nn.MaxPool3d(2)  # pools 2 to 4
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))

    def forward(self, slices: Tensor) -> Tensor:
        """(N, 3, 16, 112, 112) normalised slices to (N, 512, 1, 4, 4)."""
        x = self.pool1(self._conv("conv1", slices))  # (N, 64, 16, 56, 56)
        x = self.pool(self._conv("conv2", x))  # (N, 128, 8, 28, 28)
        x = self.pool(self._conv("conv3b", self._conv("conv3a", x)))  # (N, 256, 4, 14, 14)
        x = self.pool(self._conv("conv4b", self._conv("conv4a", x)))  # (N, 512, 2, 7, 7)
        x = self._conv("conv5b", self._conv("conv5a", x))  # (N, 512, 2, 7, 7)
        pooled: Tensor = self.pool5(x)
        return pooled

    def _conv(self, name: str, x: Tensor) -> Tensor:
        return torch.relu(self.get_submodule(name)(x))
