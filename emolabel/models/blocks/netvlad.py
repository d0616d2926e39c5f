"""NetVLAD: a set of features becomes one vector (Arandjelovic et al., CVPR 2016; Pini et al. 2017, 3.4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NetVlad(nn.Module):
    """Sums, per cluster, how far features lie from its centre, weighted by a soft assignment.

    `V_k = sum_i softmax_k(w_k . x_i + b_k) (x_i - c_k)`, then L2 per cluster, flattened, L2 again. With the initial
    `w = 2 alpha c` and `b = -alpha ||c||^2` the assignment is `softmax(-alpha ||x - c||^2)`; training then moves
    assignment and centres apart.
    """

    def __init__(self, clusters: int, dim: int, alpha: float) -> None:
        super().__init__()
        self.dim = dim
        self.alpha = alpha
        self.assignment = nn.Conv1d(dim, clusters, kernel_size=1)
        self.centres = nn.Parameter(torch.zeros(clusters, dim))

    def init_centres(self, centres: Tensor) -> None:
        """Sets the centres (K, D), from k-means for instance, and the assignment that belongs to them."""
        if centres.shape != self.centres.shape:
            raise ValueError(f"expected centres {tuple(self.centres.shape)}, got {tuple(centres.shape)}")
        assert self.assignment.bias is not None
        with torch.no_grad():
            self.centres.copy_(centres)
            self.assignment.weight.copy_(2 * self.alpha * centres[:, :, None])
            # In double: the order of a float sum, and with it the last bit, depends on the CPU.
            self.assignment.bias.copy_(-self.alpha * centres.double().square().sum(dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D) features to (B, K * D), of length 1. The order of the T features does not matter."""
        shares = self.assignment(features.transpose(1, 2)).softmax(dim=1)  # (B, K, T)
        sums = shares @ features  # (B, K, D)
        residuals = sums - shares.sum(dim=2, keepdim=True) * self.centres
        return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)
