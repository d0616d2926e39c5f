"""Bundles from published pretrained weights. What the user downloaded is checked and converted; nothing is fetched."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from emolabel.errors import BundleError
from emolabel.models import published_layouts as layouts
from emolabel.models.blocks.face_trunk import INCEPTION, check_backbone
from emolabel.models.blocks.normalise import CAFFE, FIXED, RAW, WHITEN, PixelNorm
from emolabel.models.blocks.soundnet import Padding
from emolabel.models.bundle import UNTRAINED_SEED, LoadedBundle, save_bundle
from emolabel.models.pini2017 import AudioConfig, FaceConfig, MotionConfig, Pini2017, Pini2017Config
from emolabel.models.published_layouts import Recognised
from emolabel.models.safe_load import load_array, load_array_tree, load_state_dict
from emolabel.models.weights import compare_shapes, file_sha256
from emolabel.sampling import FrameSampling

NORMALISATIONS: Final = {"whiten": WHITEN, "fixed": FIXED, "raw": RAW, "caffe": CAFFE}
"""By the names that a command line can give them."""
_HASH_IN_NAME: Final = re.compile(r"-([0-9a-f]{8,64})\.(pth|pt|safetensors)$")


@dataclass(frozen=True)
class Published:
    """A file of published weights for one branch."""

    path: Path
    sha256: str | None = None
    """What the file must hash to, as hex digits; None: not checked, only recorded."""
    normalisation: PixelNorm | None = None
    """Instead of the one that its layout is known for."""


def import_published(
    out: str | Path,
    *,
    face: Published | None = None,
    motion: Published | None = None,
    audio: Published | None = None,
    face_backbone: str = INCEPTION,
    face_px: int = 160,
    motion_mean_cube: str | Path | None = None,
    audio_padding: Padding = "same",
    name: str = "untrained-pini2017",
    seed: int = UNTRAINED_SEED,
    licence: Mapping[str, Any] | None = None,
) -> LoadedBundle:
    """Writes a bundle whose trunks have published weights. It has a branch for each file given.

    Heads and fusion stay random, so the bundle counts as untrained, and its name says so, until somebody trains it.

    Args:
        face: facenet-pytorch's `20180402-114759-vggface2.pt` or `20180408-102900-casia-webface.pt`; or, with
            `face_backbone="timm:..."`, that timm model's file.
        motion: C3D on Sports-1M: `c3d.pickle` of DavideA/c3d-pytorch, or MMAction2's `c3d_sports1m_pretrain_*.pth`.
        audio: SoundNet-8: `sound8.npy` of eborboihuc/SoundNet-tensorflow, or a PyTorch port's `.pth`.
        face_px: side of the face crops; Inception-ResNet-v1 takes 160 only.
        motion_mean_cube: `.npy` with C3D's mean video, (3, 16, 128, 171) or (3, 16, 112, 112), BGR as in Caffe.
            Chooses the `caffe` normalisation unless `motion` has another.
        audio_padding: `original` for parity with SoundNet as published.

    Raises:
        BundleError: no file given; a file that is absent, damaged or hostile, has another SHA-256 than it should,
            or whose tensors do not fit; an output folder that cannot be written.
    """
    files = {"face": face, "motion": motion, "audio": audio}
    given = {modality: file for modality, file in files.items() if file is not None}
    if not given:
        raise BundleError("nothing to import: give a file for the face, motion or audio branch")
    if face is not None:
        _check_backbone(face_backbone, face_px)
    provenance = {modality: _identify(file) for modality, file in given.items()}
    weights = {modality: _recognise(modality, file.path, face_backbone) for modality, file in given.items()}
    try:
        config = Pini2017Config(
            face=_face_config(face, weights["face"], face_backbone, face_px) if face else None,
            motion=_motion_config(motion, weights["motion"], motion_mean_cube) if motion else None,
            audio=AudioConfig(padding=audio_padding) if audio else None,
        )
    except ValueError as error:
        raise BundleError(str(error)) from error
    model = Pini2017(config)
    model.reset_parameters(seed)
    for modality, recognised in weights.items():
        trunk = model.get_submodule(f"branches.{modality}.trunk")
        _fill(trunk, recognised, str(given[modality].path))
        provenance[modality] |= {
            "layout": recognised.layout,
            "published_at": recognised.source,
            "dropped": list(recognised.dropped),
        }
    if motion_mean_cube is not None:
        provenance["motion_mean_cube"] = _fill_mean_cube(model, Path(motion_mean_cube))
    return save_bundle(
        model.eval(),
        out,
        name=name,
        trained={part: part.removesuffix(".trunk") in weights for part in model.parts()},
        provenance={"weights": "published trunks, random heads and fusion", "seed": seed, "files": provenance},
        licence=licence or {"note": "published weights keep the terms of their publishers and of their training data"},
    )


def _identify(file: Published) -> dict[str, Any]:
    """Name and SHA-256 of a file, checked against what the user and the file's own name say."""
    if not file.path.is_file():
        raise BundleError(f"{file.path}: no such file")
    digest = file_sha256(file.path)
    if file.sha256 is not None and digest != file.sha256.strip().lower():
        raise BundleError(f"{file.path}: SHA-256 is {digest}, expected {file.sha256}")
    # The convention of torch.hub: the digits behind the last dash begin the file's SHA-256.
    in_name = _HASH_IN_NAME.search(file.path.name)
    if in_name is not None and not digest.startswith(in_name[1]):
        raise BundleError(f"{file.path}: SHA-256 is {digest}, but the file's name says {in_name[1]}...")
    checked = file.sha256 is not None or in_name is not None
    return {"file": file.path.name, "sha256": digest, "sha256_checked": checked, "bytes": file.path.stat().st_size}


def _check_backbone(backbone: str, crop_px: int) -> None:
    try:
        check_backbone(backbone, crop_px)
    except ValueError as error:
        raise BundleError(str(error)) from error


def _recognise(modality: str, path: Path, face_backbone: str) -> Recognised:
    if modality == "audio" and path.suffix == ".npy":
        return layouts.soundnet_numpy(load_array_tree(path))
    state = load_state_dict(path)
    if modality == "audio":
        return layouts.soundnet_torch(state)
    if modality == "motion":
        return layouts.c3d(state)
    return layouts.facenet(state) if face_backbone == INCEPTION else layouts.timm_backbone(state, face_backbone)


def _face_config(file: Published, weights: Recognised, backbone: str, crop_px: int) -> FaceConfig:
    normalisation = file.normalisation or weights.normalisation
    assert normalisation is not None
    return FaceConfig(backbone=backbone, sampling=FrameSampling(crop_px=crop_px), normalisation=normalisation)


def _motion_config(file: Published, weights: Recognised, mean_cube: str | Path | None) -> MotionConfig:
    normalisation = file.normalisation or (CAFFE if mean_cube is not None else weights.normalisation)
    assert normalisation is not None
    if normalisation.mean_cube != (mean_cube is not None):
        raise BundleError("the `caffe` normalisation and a mean cube belong together: give both, or neither")
    return replace(MotionConfig(), normalisation=normalisation)


def _fill(trunk: nn.Module, weights: Recognised, where: str) -> None:
    expected = trunk.state_dict()
    # Older files lack these counters, which frozen batch norm does not use.
    counters = {key: value for key, value in expected.items() if key.endswith("num_batches_tracked")}
    state: dict[str, Tensor] = {**counters, **weights.state}
    compare_shapes({key: tuple(value.shape) for key, value in state.items()}, expected, where)
    trunk.load_state_dict({key: value.to(expected[key].dtype) for key, value in state.items()})


def _fill_mean_cube(model: Pini2017, path: Path) -> dict[str, Any]:
    if "motion" not in model.branches:
        raise BundleError("a mean cube needs a file for the motion branch")
    cube = torch.from_numpy(load_array(path).astype("float32"))
    if cube.shape[:1] == (1,):
        cube = cube[0]
    if cube.shape == (3, 16, 128, 171):
        cube = cube[:, :, 8:120, 29:141]  # Caffe's centre crop rounds down
    if cube.shape != (3, 16, 112, 112):
        raise BundleError(f"{path}: expected (3, 16, 128, 171) or (3, 16, 112, 112), got {tuple(cube.shape)}")
    model.get_buffer("branches.motion.normalise.mean_cube").copy_(cube)
    return {"file": path.name, "sha256": file_sha256(path)}
