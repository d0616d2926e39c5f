"""MTCNN's three networks with facenet-pytorch's weights, on the engine that is quickest for a device."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn


class Network(Protocol):
    """One of the three."""

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Regressions of the boxes' edges (n, 4, ...), in parts of their sides, and probabilities of a face (n, ...).

        Args:
            pixels: (n, h, w, 3) float32, 0-255. P-Net takes any size and answers with maps; R-Net takes 24 px squares,
                O-Net 48 px ones.
        """
        ...


@dataclass(frozen=True)
class Cascade:
    """The networks of the three stages."""

    propose: Network
    refine: Network
    decide: Network


def build_networks(device: torch.device) -> Cascade:
    """OpenVINO on the CPU, where it is installed, with as many threads as torch; torch elsewhere."""
    if device.type == "cpu":
        try:
            from emolabel.faces.openvino_networks import build_openvino
        except ImportError:
            pass
        else:
            return build_openvino(_weights("pnet"), _weights("rnet"), _weights("onet"), torch.get_num_threads())
    return build_torch(device)


def build_torch(device: torch.device) -> Cascade:
    """The reference."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    return Cascade(*(TorchNetwork(network, device) for network in (PNet(), RNet(), ONet())))


def _weights(name: str) -> dict[str, Tensor]:
    """Of one of facenet-pytorch's networks, without importing it: that takes a second of every worker's start."""
    spec = find_spec("facenet_pytorch")
    assert spec is not None, "a dependency of ours"
    assert spec.origin is not None
    weights: dict[str, Tensor] = torch.load(Path(spec.origin).parent / "data" / f"{name}.pt", weights_only=True)
    return weights


class TorchNetwork:
    """A network of facenet-pytorch as it is."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        # Channels last is how the summed-area table gives the pictures, and quicker on CPU by a third.
        self._network: nn.Module = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch declares no overload with a memory format

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        answer = self._network(((pixels - 127.5) / 128).permute(0, 3, 1, 2))
        return answer[0], answer[-1][:, 1]  # O-Net has landmarks in between
