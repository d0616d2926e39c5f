"""MTCNN's networks on OpenVINO, which takes less of an x86 CPU for them than torch.

They are written down here operation by operation, and take the weights of the torch modules: converting a module by
tracing it would cost every worker seconds at its start.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13 as ops
from torch import Tensor

from emolabel.faces.networks import Cascade

Weights = Mapping[str, Tensor]
"""A torch module's parameters by their names."""

_Node = Any
"""An output of a node of the graph, or a node with one output; OpenVINO's functions take both, and have no types."""


def build_openvino(pnet: Weights, rnet: Weights, onet: Weights, threads: int) -> Cascade:
    """Compile the three networks for this CPU, in float32: less would move boxes."""
    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Every worker would pin itself to the same cores.
        "ENABLE_CPU_PINNING": False,
    }

    def compiled(model: openvino.Model) -> "OpenVinoNetwork":
        return OpenVinoNetwork(core.compile_model(model, "CPU", options))

    # P-Net for all sizes at once: compiled for one size it is a tenth quicker, but every new one costs 20 ms, and the
    # videos of a collection have many.
    return Cascade(compiled(_pnet(_Layers(pnet))), compiled(_rnet(_Layers(rnet))), compiled(_onet(_Layers(onet))))


class OpenVinoNetwork:
    """A compiled network, for one thread at a time."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        # What OpenVINO answers lies in memory that the next call writes to.
        self._request.infer([pixels.numpy()], share_inputs=True)
        shift, score = (torch.from_numpy(self._request.get_output_tensor(i).data.copy()) for i in range(2))
        return shift, score


class _Layers:
    """Layers of a torch module as OpenVINO's operations."""

    def __init__(self, weights: Weights) -> None:
        self._weights = {name: value.numpy() for name, value in weights.items()}

    def convolution(self, x: _Node, name: str) -> _Node:
        bias = self._weights[f"{name}.bias"].reshape(1, -1, 1, 1)
        plain = ops.convolution(x, self._weights[f"{name}.weight"], [1, 1], [0, 0], [0, 0], [1, 1])
        return ops.add(plain, bias)

    def dense(self, x: _Node, name: str) -> _Node:
        product = ops.matmul(x, self._weights[f"{name}.weight"], False, True)
        return ops.add(product, self._weights[f"{name}.bias"][None])

    def prelu(self, x: _Node, name: str) -> _Node:
        return ops.prelu(x, self._weights[f"{name}.weight"])

    def hidden(self, x: _Node, number: int, pool: int | None = None) -> _Node:
        """Convolution, PReLU and, if asked for, pooling over squares of `pool`, every 2."""
        x = self.prelu(self.convolution(x, f"conv{number}"), f"prelu{number}")
        if pool is None:
            return x
        return ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [pool, pool], "ceil").output(0)  # the other: where from

    def flat(self, x: _Node, number: int) -> _Node:
        """All of a square, counted as Caffe does: across, then down; then a dense layer with PReLU."""
        x = ops.reshape(ops.transpose(x, np.array([0, 3, 2, 1])), np.array([0, -1]), True)
        return self.prelu(self.dense(x, f"dense{number}"), f"prelu{number}")


def _pixels(side: int) -> tuple[_Node, _Node]:
    """The input, (n, side, side, 3) of 0-255 (-1: any size), and what the first layer gets of it."""
    given = ops.parameter([-1, side, side, 3], np.float32)
    centred = ops.multiply(ops.subtract(given, np.float32(127.5)), np.float32(1 / 128))
    return given, ops.transpose(centred, np.array([0, 3, 1, 2]))


def _face(classes: _Node) -> _Node:
    """Of the two probabilities (n, 2, ...) that of a face."""
    return ops.gather(ops.softmax(classes, 1), np.array(1), np.array(1))


def _pnet(layers: _Layers) -> openvino.Model:
    given, x = _pixels(-1)
    x = layers.hidden(layers.hidden(layers.hidden(x, 1, pool=2), 2), 3)
    return openvino.Model([layers.convolution(x, "conv4_2"), _face(layers.convolution(x, "conv4_1"))], [given])


def _rnet(layers: _Layers) -> openvino.Model:
    given, x = _pixels(24)
    x = layers.flat(layers.hidden(layers.hidden(layers.hidden(x, 1, pool=3), 2, pool=3), 3), 4)
    return openvino.Model([layers.dense(x, "dense5_2"), _face(layers.dense(x, "dense5_1"))], [given])


def _onet(layers: _Layers) -> openvino.Model:
    given, x = _pixels(48)
    for number, pool in ((1, 3), (2, 3), (3, 2), (4, None)):
        x = layers.hidden(x, number, pool)
    x = layers.flat(x, 5)
    return openvino.Model([layers.dense(x, "dense6_2"), _face(layers.dense(x, "dense6_1"))], [given])
