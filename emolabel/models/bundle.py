"""Bundles: a folder, or a Hugging Face hub id, with `config.json` and `model.safetensors`. Nothing is unpickled."""

import copy
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from emolabel.errors import BundleError
from emolabel.models.base import EmotionModel
from emolabel.models.blocks.normalise import FIXED
from emolabel.models.bundle_config import MAX_CONFIG_BYTES, BundleConfig, read_config
from emolabel.models.hub import HUB_ID, fetch
from emolabel.models.pini2017 import SUBMISSION_1, MotionConfig, Pini2017, Pini2017Config
from emolabel.models.registry import build_model
from emolabel.models.shipped import shipped_bundle, shipped_names
from emolabel.models.strict import to_plain
from emolabel.models.weights import WeightsDtype, file_sha256, read_safetensors, stored_state, to_safetensors

CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
UNTRAINED_SEED: Final = 2017
UNTRAINED: Final = {
    "untrained": SUBMISSION_1,
    # Random C3D weights have no mean to go with; centred pixels keep their activations from drowning the rest.
    "untrained-full": Pini2017Config(motion=MotionConfig(normalisation=FIXED)),
}
"""Built-in bundles with random weights: they show that a pipeline runs, and say nothing about emotions."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy")


@dataclass(frozen=True, eq=False)
class LoadedBundle:
    """A model that is ready to predict, in eval mode on its device."""

    model: EmotionModel
    config: BundleConfig
    sha256: str
    """Of both files: what `sha256sum config.json model.safetensors | sha256sum` prints."""

    @property
    def trained(self) -> bool:
        """Whether every part of the model was trained; if not, its labels mean nothing."""
        return all(self.config.trained.values())

    @property
    def name(self) -> str:
        """What rows say. It starts with `untrained` where a part is random."""
        name = self.config.name
        return name if self.trained or name.startswith("untrained") else f"untrained-{name}"


def load_bundle(name_or_path: str | Path, device: str | torch.device = "cpu") -> LoadedBundle:
    """Loads a built-in bundle, a folder, or `owner/name[@revision]` from the hub.

    Built in are `untrained`, `untrained-full`, and what ships with the package. Built-in names win over folders,
    folders over the hub.

    Raises:
        BundleError: it cannot be found, or is not what it says.
    """
    if str(name_or_path) in UNTRAINED:
        return _on_device(_untrained(str(name_or_path), UNTRAINED_SEED, str(name_or_path)), device)
    folder = _locate(str(name_or_path))
    config = read_config(folder / CONFIG_FILE)
    try:
        model = build_model(config.architecture, config.config)
    except ValueError as error:
        raise BundleError(f"{folder / CONFIG_FILE}: {error}") from error
    _check_parts(model, config.trained, str(folder / CONFIG_FILE))
    model.load_state_dict(read_safetensors(folder / WEIGHTS_FILE, stored_state(model, config.weights_dtype)))
    digest = _sha256(file_sha256(folder / CONFIG_FILE), file_sha256(folder / WEIGHTS_FILE))
    return _on_device(LoadedBundle(model, config, digest), device)


def save_bundle(
    model: EmotionModel,
    folder: str | Path,
    *,
    name: str,
    trained: Mapping[str, bool],
    provenance: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    licence: Mapping[str, Any] | None = None,
    half: bool = False,
) -> LoadedBundle:
    """Writes a bundle; the folder appears whole or not at all.

    Args:
        trained: for each of `model.parts()`, whether its weights were trained.
        half: stores parameters in half precision (float16): half the size. They are float32 again when loaded.

    Returns:
        The bundle as it will be loaded; with `half` its model is a copy with rounded weights.

    Raises:
        BundleError: the folder exists with something in it, cannot be written, or values do not fit.
    """
    dtype: WeightsDtype = "float16" if half else "float32"
    bundle, config_bytes, weights_bytes = _packed(
        model, name, dict(trained), dict(provenance or {}), dict(metrics or {}), dict(licence or {}), dtype
    )
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(f"{target} exists already: choose another folder")
    draft = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        _write(draft / CONFIG_FILE, config_bytes)
        _write(draft / WEIGHTS_FILE, weights_bytes)
        os.replace(draft, target)
    except OSError as error:
        raise BundleError(f"{target}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return bundle


def create_bundle(kind: str, out: str | Path, *, seed: int = UNTRAINED_SEED, name: str | None = None) -> LoadedBundle:
    """Writes a bundle with random weights: a place for training to start, or a stand-in for tests.

    Args:
        kind: `untrained` (face and audio, the paper's submission 1) or `untrained-full` (face, motion and audio).
        name: its name; `kind` by default. With the default seed and name it equals the built-in bundle.

    Raises:
        BundleError: an unknown kind, or a folder that cannot be written.
    """
    if kind not in UNTRAINED:
        raise BundleError(f"unknown kind of bundle {kind!r}; known are {', '.join(UNTRAINED)}")
    if seed < 0:
        raise BundleError(f"a seed must not be negative, got {seed}")
    bundle = _untrained(kind, seed, name or kind)
    config = bundle.config
    return save_bundle(bundle.model, out, name=config.name, trained=config.trained, provenance=config.provenance)


def _untrained(kind: str, seed: int, name: str) -> LoadedBundle:
    model = Pini2017(UNTRAINED[kind])
    model.reset_parameters(seed)
    provenance = {"weights": "random", "seed": seed}
    return _packed(model.eval(), name, dict.fromkeys(model.parts(), False), provenance, {}, {})[0]


def _packed(
    model: EmotionModel,
    name: str,
    trained: dict[str, bool],
    provenance: dict[str, Any],
    metrics: dict[str, Any],
    licence: dict[str, Any],
    dtype: WeightsDtype = "float32",
) -> tuple[LoadedBundle, bytes, bytes]:
    """A bundle as it will be loaded again, with the bytes of its two files."""
    try:
        config = BundleConfig(
            name=name,
            architecture=model.architecture,
            config=to_plain(model.config),
            trained=trained,
            provenance=provenance,
            metrics=metrics,
            licence=licence,
            weights_dtype=dtype,
        )
        config_bytes = config.to_json()
    except (TypeError, ValueError) as error:
        raise BundleError(f"cannot save the bundle {name!r}: {error}") from error
    if len(config_bytes) > MAX_CONFIG_BYTES:
        raise BundleError(f"cannot save the bundle {name!r}: {len(config_bytes):,} bytes are too many for a config")
    _check_parts(model, trained, f"cannot save the bundle {name!r}")
    state = stored_state(model, dtype)
    weights_bytes = to_safetensors(state)
    if dtype != "float32":
        model = copy.deepcopy(model)
        model.load_state_dict(state)
    digest = _sha256(hashlib.sha256(config_bytes).hexdigest(), hashlib.sha256(weights_bytes).hexdigest())
    return LoadedBundle(model, config, digest), config_bytes, weights_bytes


def _locate(name_or_path: str) -> Path:
    try:
        return _find(name_or_path)
    except OSError as error:
        raise BundleError(f"the bundle {name_or_path[:200]!r} cannot be read: {error.strerror}") from error


def _find(name_or_path: str) -> Path:
    shipped = shipped_bundle(name_or_path)
    if shipped is not None:
        return shipped
    path = Path(os.path.expanduser(name_or_path))
    if path.is_dir():
        _refuse_pickles(path)
        return path
    if path.exists():
        raise BundleError(
            f"{path} is a file: a bundle is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
            + ("; published weights become one with `emolabel bundle import`" if path.suffix in _PICKLES else "")
        )
    if not HUB_ID.fullmatch(name_or_path):
        built_in = ", ".join((*shipped_names(), *UNTRAINED))
        raise BundleError(f"no bundle {name_or_path!r}: no built-in one ({built_in}), no folder, no hub id")
    # The small file first: a repository that is no bundle costs no download of its weights.
    snapshot = fetch(name_or_path, CONFIG_FILE)
    read_config(snapshot / CONFIG_FILE)
    pinned = f"{name_or_path.partition('@')[0]}@{snapshot.name}"
    return fetch(pinned, CONFIG_FILE, WEIGHTS_FILE)


def _refuse_pickles(folder: Path) -> None:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles and not (folder / WEIGHTS_FILE).exists():
        raise BundleError(
            f"{folder} has no {WEIGHTS_FILE}, and {pickles[0]} is not opened: a pickle can run any code. "
            "Published weights become a bundle with `emolabel bundle import`"
        )


def _check_parts(model: EmotionModel, trained: Mapping[str, bool], where: str) -> None:
    if set(trained) != set(model.parts()):
        raise BundleError(f"{where}: 'trained' must say it of {', '.join(model.parts())}; got {', '.join(trained)}")


def _on_device(bundle: LoadedBundle, device: str | torch.device) -> LoadedBundle:
    try:
        bundle.model.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        raise BundleError(f"the model does not go on device {str(device)!r}: {error}") from error
    return bundle


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sha256(config: str, weights: str) -> str:
    return hashlib.sha256(f"{config}  {CONFIG_FILE}\n{weights}  {WEIGHTS_FILE}\n".encode()).hexdigest()
