"""MTCNN's networks on OpenVINO, which takes less of an x86 CPU for them than torch.

They are written down here operation by operation, and take the weights of the torch modules: converting a module by
tracing it would cost every worker seconds at its start.
"""

from collections import Counter
from collections.abc import Callable, Mapping
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


_R_AT_ONCE, _O_AT_ONCE = 32, 4
"""Regions in one pass of R-Net and O-Net. Compiled for a number of its own a network is a third quicker, and does not
prepare itself anew for each number that comes; what is missing to it is filled up."""
_WORTH_COMPILING_PX = 1_000_000
"""Compiling P-Net for one size takes 20 ms, and saves as much on so many pixels."""
_MOST_SIZES = 32


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

    proposing, refining, deciding = _Layers(pnet), _Layers(rnet), _Layers(onet)
    return Cascade(
        _OfAnySize(lambda height, width: compiled(_pnet(proposing, height, width))),
        _InBatches(compiled(_rnet(refining, _R_AT_ONCE)), _R_AT_ONCE),
        _InBatches(compiled(_onet(deciding, _O_AT_ONCE)), _O_AT_ONCE),
    )


class OpenVinoNetwork:
    """A compiled network, for one thread at a time."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        # Handed to `infer` itself, the input would pass through 20 us of conversions.
        self._request.set_input_tensor(openvino.Tensor(pixels.numpy(), shared_memory=True))
        self._request.infer()
        # What OpenVINO answers lies in memory that the next call writes to.
        shift, score = (torch.from_numpy(self._request.get_output_tensor(i).data.copy()) for i in range(2))
        return shift, score


class _InBatches:
    """A network that takes so many pictures, no more and no less, made to take any number."""

    def __init__(self, network: OpenVinoNetwork, size: int) -> None:
        self._network, self._size = network, size

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        n = len(pixels)
        missing = -n % self._size
        full = torch.cat([pixels, pixels.new_zeros(missing, *pixels.shape[1:])]) if missing else pixels
        return _joined([self._network(batch) for batch in torch.split(full, self._size)], n)


class _OfAnySize:
    """P-Net, compiled once for pictures of all sizes, and once more for each size that many pictures have."""

    def __init__(self, build: Callable[[int, int], OpenVinoNetwork]) -> None:
        self._build = build
        self._any = build(-1, -1)
        self._own: dict[tuple[int, int], OpenVinoNetwork] = {}
        self._seen_px: Counter[tuple[int, int]] = Counter()

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        own = self._own_network(pixels)
        if own is None:
            return self._any(pixels)
        return _joined([own(picture) for picture in torch.split(pixels, 1)], len(pixels))

    def _own_network(self, pixels: Tensor) -> OpenVinoNetwork | None:
        """The one for pictures of this size; None as long as it would not pay."""
        n, height, width, _ = pixels.shape
        size = height, width
        if size in self._own:
            return self._own[size]
        if len(self._seen_px) > 100 * _MOST_SIZES:  # a collection of many sizes: those that come often come again
            self._seen_px.clear()
        self._seen_px[size] += n * height * width
        if self._seen_px[size] < _WORTH_COMPILING_PX:
            return None
        del self._seen_px[size]
        if len(self._own) == _MOST_SIZES:
            del self._own[next(iter(self._own))]
        self._own[size] = self._build(height, width)
        return self._own[size]


def _joined(parts: list[tuple[Tensor, Tensor]], n: int) -> tuple[Tensor, Tensor]:
    """The first `n` answers."""
    shift, score = (torch.cat(part)[:n] for part in zip(*parts, strict=True))
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


def _pixels(n: int, height: int, width: int) -> tuple[_Node, _Node]:
    """The input, (n, height, width, 3) of 0-255, each -1 for any, and what the first layer gets of it."""
    given = ops.parameter([n, height, width, 3], np.float32)
    centred = ops.multiply(ops.subtract(given, np.float32(127.5)), np.float32(1 / 128))
    return given, ops.transpose(centred, np.array([0, 3, 1, 2]))


def _face(classes: _Node) -> _Node:
    """Of the two probabilities (n, 2, ...) that of a face."""
    return ops.gather(ops.softmax(classes, 1), np.array(1), np.array(1))


def _pnet(layers: _Layers, height: int, width: int) -> openvino.Model:
    given, x = _pixels(-1 if height < 0 else 1, height, width)
    x = layers.hidden(layers.hidden(layers.hidden(x, 1, pool=2), 2), 3)
    return openvino.Model([layers.convolution(x, "conv4_2"), _face(layers.convolution(x, "conv4_1"))], [given])


def _rnet(layers: _Layers, n: int) -> openvino.Model:
    given, x = _pixels(n, 24, 24)
    x = layers.flat(layers.hidden(layers.hidden(layers.hidden(x, 1, pool=3), 2, pool=3), 3), 4)
    return openvino.Model([layers.dense(x, "dense5_2"), _face(layers.dense(x, "dense5_1"))], [given])


def _onet(layers: _Layers, n: int) -> openvino.Model:
    given, x = _pixels(n, 48, 48)
    for number, pool in ((1, 3), (2, 3), (3, 2), (4, None)):
        x = layers.hidden(x, number, pool)
    x = layers.flat(x, 5)
    return openvino.Model([layers.dense(x, "dense6_2"), _face(layers.dense(x, "dense6_1"))], [given])
