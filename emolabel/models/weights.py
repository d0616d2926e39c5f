"""`model.safetensors` of a bundle: written whole, read only when every tensor is what the model expects."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from emolabel.errors import BundleError

WeightsDtype = Literal["float32", "float16"]

MAX_WEIGHTS_BYTES: Final = 4 * 2**30
MAX_HEADER_BYTES: Final = 16 * 2**20
_NAMED: Final = 3
"""Keys that an error names before it only counts."""


def stored_state(module: nn.Module, dtype: WeightsDtype) -> dict[str, Tensor]:
    """The state dict of `module` as it lies in a file.

    `float16` halves the parameters. Buffers stay as they are: they are small, and the variances among them, of raw
    pixels for instance, can be too big for float16.

    Raises:
        BundleError: a parameter is too big for float16 (65,504).
    """
    state: dict[str, Tensor] = module.state_dict()
    if dtype == "float32":
        return state
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    halved = {key: value.half() for key, value in state.items() if key in parameters and value.dtype == torch.float32}
    too_big = [key for key, value in halved.items() if bool((value.isinf() & state[key].isfinite()).any())]
    if too_big:
        raise BundleError(f"cannot save: values too big for half precision: {_some(too_big)}")
    return {**state, **halved}


def to_safetensors(state: Mapping[str, Tensor]) -> bytes:
    """The file's bytes; the same tensors give the same bytes.

    Raises:
        BundleError: a tensor has values that are not finite.
    """
    plain = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    _check_finite(plain, "cannot save")
    return safetensors.torch.save(plain, metadata={"format": "pt"})


def read_safetensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads the weights of a model whose state dict, as it lies in a file, is `expected`.

    Raises:
        BundleError: the file is absent, damaged or too big; keys are missing or unexpected; shapes or types differ;
            values are not finite.
    """
    check_header_size(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            headers = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
            found = {key: (tuple(header.get_shape()), header.get_dtype()) for key, header in headers.items()}
            compare_shapes({key: shape for key, (shape, _) in found.items()}, expected, str(path))
            state = {key: file.get_tensor(key) for key in expected}
    except (safetensors.SafetensorError, OSError) as error:
        raise BundleError(f"{path}: damaged safetensors file: {error}") from error
    wrong = [
        f"{key} is {state[key].dtype}, expected {expected[key].dtype}"
        for key in expected
        if state[key].dtype != expected[key].dtype
    ]
    if wrong:
        raise BundleError(f"{path}: wrong types: {_some(wrong)}")
    _check_finite(state, str(path))
    return state


def compare_shapes(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, Tensor], where: str) -> None:
    """Raises BundleError unless `found` has the keys and shapes of `expected`; names the first few that differ."""
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    wrong = [
        f"{key} is {_shape(found[key])}, expected {_shape(expected[key].shape)}"
        for key in expected
        if key in found and tuple(found[key]) != tuple(expected[key].shape)
    ]
    faults = [
        f"{len(items)} {what}: {_some(items)}"
        for what, items in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", wrong))
        if items
    ]
    if faults:
        raise BundleError(f"{where}: the weights do not fit the model: {'; '.join(faults)}")


def check_header_size(path: Path) -> None:
    """Raises BundleError for a file that is no safetensors file, or whose sizes are absurd, before it is opened."""
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    size = path.stat().st_size
    if size > MAX_WEIGHTS_BYTES:
        raise BundleError(f"{path}: {size:,} bytes are too many; the limit is {MAX_WEIGHTS_BYTES:,}")
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
    if size < 8 or header > size - 8:
        raise BundleError(f"{path}: not a safetensors file, or cut short: {size:,} bytes, header of {header:,}")
    if header > MAX_HEADER_BYTES:
        raise BundleError(f"{path}: a header of {header:,} bytes is too big; the limit is {MAX_HEADER_BYTES:,}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _check_finite(state: Mapping[str, Tensor], where: str) -> None:
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise BundleError(f"{where}: values that are not finite: {_some(broken)}")


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _some(items: list[str]) -> str:
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
