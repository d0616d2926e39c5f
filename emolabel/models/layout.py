"""A trained model made ready to run; nothing here changes what it says beyond rounding."""

import platform
from itertools import pairwise
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emolabel.config import Precision
from emolabel.models.base import EmotionModel

_IN_ORDER = ("emolabel.", "facenet_pytorch.", "torch.nn.modules.container")
"""Where classes come from that name their layers in the order in which they run. timm's and users' own need not."""
_SEEING = (["face", "trunk"], ["motion", "trunk"])
"""Parts that take nearly all of a model's time."""


def make_quick(model: EmotionModel, precision: Precision = "float32") -> None:
    """Change a model in eval mode, in place, for good: it can be neither trained nor saved after that.

    Args:
        model: on the device where it will stay.
        precision: of the trunks that look at pictures. What follows them is in float32, and sound is: these take
            little time, and small differences show there. Where the device has no bfloat16, all is in float32:
            imitated, it would take longer.
    """
    device = model.device.type
    on_cpu, rounded = device == "cpu", precision == "bfloat16" and has_bfloat16(device)
    if on_cpu:
        _fold_batch_norms(model)
    if on_cpu or rounded:
        _lay_out(model)
    if rounded:
        for name, part in model.parts().items():
            if name.split(".")[-2:] in _SEEING:
                _round(part)


def has_bfloat16(device: str) -> bool:
    """Whether `cpu` or `cuda` computes in bfloat16 itself, here: AVX512_BF16, or compute capability 8."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not (torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    # On x86 oneDNN also says yes to an AVX-512 in which it imitates bfloat16.
    return platform.machine() != "x86_64" or torch.cpu._is_avx512_bf16_supported()


def _fold_batch_norms(module: nn.Module) -> None:
    """Batch normalisation becomes part of the convolution before it: a sixth of a small network's time."""
    if not type(module).__module__.startswith(_IN_ORDER):
        return
    for (conv_name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
        if isinstance(conv, nn.Conv1d | nn.Conv2d) and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
    for child in module.children():
        _fold_batch_norms(child)


def _lay_out(model: nn.Module) -> None:
    """Convolutions with channels last, as crops come: a fifth to a third quicker."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last_3d)


def _round(trunk: nn.Module) -> None:
    """Products in bfloat16, statistics and what comes out in float32, as autocast has it."""
    for module in trunk.modules():
        if type(module) in (nn.Conv2d, nn.Conv3d, nn.Linear):  # others may compute something with their weights
            module.to(torch.bfloat16)  # or autocast would do it for every batch
    trunk.forward = MethodType(_forward_rounded, trunk)


def _forward_rounded(trunk: nn.Module, pictures: Tensor) -> Tensor:
    with torch.autocast(pictures.device.type, torch.bfloat16):
        features: Tensor = type(trunk).forward(trunk, pictures)
    return features.float()
