"""How published weights name their tensors, and what they become here."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import timm
import torch
from torch import Tensor

from emolabel.models.blocks.face_trunk import TIMM_PREFIX
from emolabel.models.blocks.normalise import FIXED, RAW, PixelNorm
from emolabel.models.safe_load import FloatArray


@dataclass(frozen=True, eq=False)
class Recognised:
    """Published weights under the names of our trunk."""

    layout: str
    source: str
    """Where weights of this layout are published."""
    state: dict[str, Tensor]
    dropped: tuple[str, ...]
    """Layers that the trunk does not have: classifiers and what leads to them."""
    normalisation: PixelNorm | None = None
    """What these weights were trained with; None for sound."""


def facenet(state: Mapping[str, Tensor]) -> Recognised:
    """facenet-pytorch's Inception-ResNet-v1; the number of identities tells VGGFace2 from CASIA-WebFace."""
    trunk, dropped = _without(state, ("block8", "last_linear", "last_bn", "logits"))
    identities = len(state["logits.weight"]) if "logits.weight" in state else 0
    data = {8631: " vggface2", 10575: " casia-webface"}.get(identities, "")
    source = "https://github.com/timesler/facenet-pytorch/releases/tag/v2.2.9"
    return Recognised(f"facenet-pytorch{data}", source, trunk, dropped, FIXED)


def timm_backbone(state: Mapping[str, Tensor], backbone: str) -> Recognised:
    """A timm model as its publisher saved it, without the classifier."""
    name = backbone.removeprefix(TIMM_PREFIX)
    published = timm.get_pretrained_cfg(name)
    classifiers = [published.classifier] if isinstance(published.classifier, str) else list(published.classifier or ())
    body, dropped = _without(state, classifiers)
    mean, std = (tuple(255.0 * value for value in values) for values in (published.mean, published.std))
    return Recognised(
        layout=f"timm {name}",
        source="https://huggingface.co/timm",
        state={f"body.{key}": value for key, value in body.items()},
        dropped=dropped,
        normalisation=PixelNorm(mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2])),
    )


def c3d(state: Mapping[str, Tensor]) -> Recognised:
    """C3D trained on Sports-1M: the port by the paper's lab (RGB, 0-255), or MMAction2's (RGB minus a mean)."""
    plain = {key.removeprefix("backbone."): value for key, value in state.items()}
    trunk, dropped = _without(plain, ("fc6", "fc7", "fc8"))
    if "conv1a.conv.weight" not in trunk:
        return Recognised("c3d-pytorch sports1m", "https://github.com/DavideA/c3d-pytorch", trunk, dropped, RAW)
    renamed = {re.sub(r"^(conv[12])a\.", r"\1.", key.replace(".conv.", ".")): value for key, value in trunk.items()}
    source = "https://github.com/open-mmlab/mmaction2/tree/main/configs/recognition/c3d"
    return Recognised("mmaction2 c3d sports1m", source, renamed, dropped, PixelNorm(mean=(104.0, 117.0, 128.0)))


def soundnet_torch(state: Mapping[str, Tensor]) -> Recognised:
    """SoundNet-8 in PyTorch, with two-dimensional kernels; two ports that differ in names."""
    dropped_layers = [f"{kind}{i}" for kind in ("conv", "batchnorm") for i in (5, 6, 7)]
    trunk, dropped = _without(state, [*dropped_layers, "conv8", "conv8_2", "conv8_objs", "conv8_scns"])
    if "conv1.0.weight" in trunk:
        layout, source = "SoundNet_Pytorch", "https://github.com/smallflyingpig/SoundNet_Pytorch"
        trunk = {re.sub(r"^conv(\d)\.1\.", r"bn\1.", key): value for key, value in trunk.items()}
        trunk = {re.sub(r"^conv(\d)\.0\.", r"conv\1.", key): value for key, value in trunk.items()}
    else:
        layout, source = "pytorch-soundnet", "https://github.com/keunhong/pytorch-soundnet"
        trunk = {key.replace("batchnorm", "bn"): value for key, value in trunk.items()}
    flat = {key: value.squeeze(3) if value.ndim == 4 else value for key, value in trunk.items()}
    return Recognised(f"{layout} soundnet-8", source, flat, dropped)


def soundnet_numpy(tree: Mapping[str, Mapping[str, FloatArray]]) -> Recognised:
    """SoundNet-8 as its TensorFlow port publishes it: per layer, kernels (k, 1, in, out) and batch norm."""
    later = ("conv5", "conv6", "conv7", "conv8", "conv8_2")
    return Recognised(
        layout="SoundNet-tensorflow soundnet-8",
        source="https://github.com/eborboihuc/SoundNet-tensorflow",
        state={
            _soundnet_name(layer, key): _from_tensorflow(array)
            for layer, arrays in tree.items()
            if layer not in later
            for key, array in arrays.items()
        },
        dropped=tuple(layer for layer in later if layer in tree),
    )


def _soundnet_name(layer: str, key: str) -> str:
    names = {
        "weights": f"{layer}.weight",
        "biases": f"{layer}.bias",
        "gamma": f"{layer.replace('conv', 'bn')}.weight",
        "beta": f"{layer.replace('conv', 'bn')}.bias",
        "mean": f"{layer.replace('conv', 'bn')}.running_mean",
        "var": f"{layer.replace('conv', 'bn')}.running_var",
    }
    return names.get(key, f"{layer}.{key}")


def _from_tensorflow(array: FloatArray) -> Tensor:
    tensor = torch.from_numpy(array.astype("float32"))
    return tensor.permute(3, 2, 0, 1).squeeze(3) if tensor.ndim == 4 else tensor


def _without(state: Mapping[str, Tensor], layers: Iterable[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Splits off whole layers by name; says which of them were there."""
    prefixes = tuple(f"{layer}." for layer in layers)
    kept = {key: value for key, value in state.items() if not key.startswith(prefixes)}
    dropped = [prefix[:-1] for prefix in prefixes if any(key.startswith(prefix) for key in state)]
    return kept, tuple(dropped)
