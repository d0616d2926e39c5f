"""Face backbones: crops to a feature map of 3x3. None of them ever opens the network.

timm and facenet-pytorch are imported where they are used: a second of every worker's start, which others do without.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emolabel.models.blocks.compact import CompactTrunk
from emolabel.models.blocks.frozen import Freezable

INCEPTION = "inception_resnet_v1"
INCEPTION_PX = 160
COMPACT = "compact"
TIMM_PREFIX = "timm:"

INCEPTION_STAGES = (
    "conv2d_1a",
    "conv2d_2a",
    "conv2d_2b",
    "maxpool_3a",
    "conv2d_3b",
    "conv2d_4a",
    "conv2d_4b",
    "repeat_1",
    "mixed_6a",
    "repeat_2",
    "mixed_7a",
    "repeat_3",
)


class InceptionTrunk(Freezable):
    """Inception-ResNet-v1 up to the fifth Inception-resnet-C block, before the sixth (Pini et al. 2017, 3.1).

    Stage names are those of facenet-pytorch, so that its published weights fit as they are.
    """

    channels = 1792

    def __init__(self) -> None:
        from facenet_pytorch import InceptionResnetV1

        super().__init__()
        whole = InceptionResnetV1(pretrained=None)
        for name in INCEPTION_STAGES:
            self.add_module(name, whole.get_submodule(name))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, 160, 160) normalised crops to (N, 1792, 3, 3)."""
        for stage in self.children():
            crops = stage(crops)
        return crops


class TimmTrunk(Freezable):
    """Any timm backbone; its last feature map is averaged down to 3x3, so that the paper's head fits it."""

    def __init__(self, name: str, crop_px: int) -> None:
        import timm

        super().__init__()
        size = {"img_size": crop_px} if timm.get_pretrained_cfg(name).fixed_input_size else {}
        self.body: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **size)
        self.channels = int(self.body.num_features)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, S, S) normalised crops to (N, channels, 3, 3)."""
        n_prefix = getattr(self.body, "num_prefix_tokens", 0)
        features = cast(Any, self.body).forward_features(crops)  # timm's models share it, but no type has it
        return F.adaptive_avg_pool2d(_feature_map(features, self.channels, n_prefix), 3)


def face_trunk(backbone: str, crop_px: int) -> InceptionTrunk | CompactTrunk | TimmTrunk:
    """Builds a backbone by name: `inception_resnet_v1`, `compact`, or `timm:` and a timm model name.

    Weights are random.
    """
    check_backbone(backbone, crop_px)
    if backbone == INCEPTION:
        return InceptionTrunk()
    return CompactTrunk() if backbone == COMPACT else TimmTrunk(backbone.removeprefix(TIMM_PREFIX), crop_px)


def check_backbone(backbone: str, crop_px: int) -> None:
    """Raises ValueError for a backbone that is unknown or does not take crops of this size.

    Only plain names of models that timm brings along are taken: timm itself would follow `hf-hub:` to the network and
    `local-dir:` to the disk, and the name may come from somebody else's bundle.
    """
    if backbone == INCEPTION:
        if crop_px != INCEPTION_PX:
            raise ValueError(f"{INCEPTION} takes crops of {INCEPTION_PX} px, got {crop_px}")
        return
    if backbone == COMPACT:
        return
    import timm

    name = backbone.removeprefix(TIMM_PREFIX)
    if name == backbone or not name.replace("_", "").isalnum() or not timm.is_model(name):
        raise ValueError(
            f"unknown face backbone {backbone!r}: expected {INCEPTION!r}, {COMPACT!r}, or 'timm:' and a timm model"
        )


def _feature_map(features: Tensor, channels: int, n_prefix: int) -> Tensor:
    """Brings what timm models give, (N, C, H, W), (N, H, W, C) or (N, tokens, C), to (N, C, H, W)."""
    if features.ndim == 3:
        side = math.isqrt(features.shape[1] - n_prefix)
        return features[:, n_prefix:].transpose(1, 2).reshape(len(features), channels, side, side)
    return features if features.shape[1] == channels else torch.movedim(features, 3, 1)
