"""A bundle as one value, to be sent to workers that cannot see the folder it came from."""

from dataclasses import dataclass

import safetensors.torch
import torch

from emolabel.config import Precision
from emolabel.models.base import EmotionModel
from emolabel.models.bundle import LoadedBundle
from emolabel.models.bundle_config import BundleConfig
from emolabel.models.layout import make_quick
from emolabel.models.registry import build_model
from emolabel.models.weights import to_safetensors


@dataclass(frozen=True)
class PackedBundle:
    """The contents of a bundle's two files."""

    config: BundleConfig
    weights: bytes
    """In safetensors format."""


def pack_bundle(bundle: LoadedBundle) -> PackedBundle:
    """Ready to be sent."""
    return PackedBundle(bundle.config, to_safetensors(bundle.model.state_dict()))


def unpack_model(packed: PackedBundle, device: str | torch.device, precision: Precision = "float32") -> EmotionModel:
    """The model, in eval mode on a device, made ready for it."""
    model = build_model(packed.config.architecture, packed.config.config)
    model.load_state_dict(safetensors.torch.load(packed.weights))
    model = model.to(device).eval()
    make_quick(model, precision)
    return model
