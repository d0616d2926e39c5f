"""Files of published weights, opened without ever running what is in them."""

import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from emolabel.errors import BundleError
from emolabel.models.weights import check_header_size

MAX_FILE_BYTES: Final = 2 * 2**30
_MAX_MEMO: Final = 100_000
FloatArray = npt.NDArray[np.floating[Any]]
T = TypeVar("T")


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """The named tensors of a `.safetensors` file, or of a file that `torch.save` wrote; a `state_dict` inside counts.

    Raises:
        BundleError: the file is absent, damaged or too big, or holds anything but tensors.
    """
    _check_size(path)
    if path.suffix == ".safetensors":
        check_header_size(path)
        return _guarded(path, lambda: safetensors.torch.load_file(path))
    _guarded(path, lambda: _check_zip(path))
    # weights_only: torch's own reader of pickles, which builds tensors and plain containers and refuses the rest.
    content = _guarded(path, lambda: _load_tensors(path))
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise BundleError(f"{path}: expected named tensors, got {type(content).__name__}")
    odd = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd:
        raise BundleError(f"{path}: expected named tensors, but {odd[0]!r:.80} is none")
    return dict(content)


def load_array(path: Path) -> FloatArray:
    """The one array of floats in a `.npy` file.

    Raises:
        BundleError: the file is absent, damaged or too big, or holds objects.
    """
    _check_size(path)
    array = _guarded(path, lambda: np.load(path, allow_pickle=False))
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise BundleError(f"{path}: expected one array of floats")
    return array


def load_array_tree(path: Path) -> dict[str, dict[str, FloatArray]]:
    """The arrays of a `.npy` file that holds one dict of dicts, as TensorFlow ports publish their weights.

    Such a file is a pickle. Here it is read by names alone: the only things it may ask for are numpy's arrays and
    their types, and it gets inert stand-ins for them; everything else is refused before anything is built.

    Raises:
        BundleError: the file is absent, damaged or too big, or holds anything but such arrays.
    """
    _check_size(path)
    return _guarded(path, lambda: _array_tree(_read_object_npy(path.read_bytes())))


def _load_tensors(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own text tells the user how to run the file's code after all.
        raise ValueError("it holds more than tensors, so it was not opened") from error


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BundleError(f"{path}: {size:,} bytes are too many; the limit is {MAX_FILE_BYTES:,}")


def _check_zip(path: Path) -> None:
    """Torch's files are zip archives without compression; one with it could unpack to any size."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("a compressed archive; torch writes none")
        if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_FILE_BYTES:,} bytes")


def _guarded(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except Exception as error:  # a damaged or hostile file can make parsers raise anything
        first = next(iter(str(error).splitlines()), "")
        raise BundleError(f"{path}: refused, or damaged: {type(error).__name__}: {first}") from error


class _StandIn:
    """Answers for a function or class of numpy that a pickle names. It holds nothing that a pickle could change."""

    __slots__ = ("_make",)
    _make: Callable[..., object]

    def __init__(self, make: Callable[..., object]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a stand-in keeps nothing")


class _Array:
    """What a pickle says of an array: `(version, shape, dtype, fortran, data)`."""

    __slots__ = ("state",)
    state: tuple[Any, ...]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _Dtype:
    """What a pickle says of an element type: its code, and `(version, byte order, ...)`."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


_ARRAY: Final = _StandIn(lambda *_: _Array())
_STAND_INS: Final = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _StandIn(lambda code, *_: _Dtype(str(code))),
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}; only arrays are taken")
        return stand_in

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError("the file refers to something outside itself")


def _read_object_npy(content: bytes) -> object:
    file = BytesIO(content)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    shape, _, dtype = read_header(file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"expected a single object, got {dtype} of shape {shape}")
    payload = file.read()
    _check_opcodes(payload)
    # latin1: files written by Python 2 hold their bytes as text.
    outer = _ArraysOnly(BytesIO(payload), encoding="latin1").load()
    if not isinstance(outer, _Array):
        raise ValueError(f"expected an array, got {type(outer).__name__}")
    (only,) = outer.state[4]
    return only


def _check_opcodes(payload: bytes) -> None:
    """Refuses what gets past `find_class`: the process's own registry of extensions, and an endless memo."""
    for opcode, argument, _ in pickletools.genops(payload):
        if opcode.name.startswith("EXT"):
            raise pickle.UnpicklingError(f"the file uses {opcode.name}, which arrays do not need")
        if opcode.name.endswith("PUT") and int(str(argument)) > _MAX_MEMO:
            # The unpickler allocates its memo up to the highest number.
            raise pickle.UnpicklingError(f"the file counts to {argument}, more than any weights need")


def _array_tree(tree: object) -> dict[str, dict[str, FloatArray]]:
    if not isinstance(tree, dict) or not all(isinstance(layer, dict) for layer in tree.values()):
        raise ValueError("expected a dict of dicts of arrays")
    return {str(name): {str(key): _array(value) for key, value in layer.items()} for name, layer in tree.items()}


def _array(value: object) -> FloatArray:
    if not isinstance(value, _Array):
        raise ValueError(f"expected an array, got {type(value).__name__}")
    _, shape, dtype, fortran, data = value.state
    if not isinstance(dtype, _Dtype) or dtype.code not in ("f2", "f4", "f8") or dtype.order not in ("<", ">", "="):
        raise ValueError(f"expected an array of floats, got {getattr(dtype, 'code', dtype)!r}")
    raw = data.encode("latin1") if isinstance(data, str) else data
    kind = np.dtype(f"{dtype.order}{dtype.code}")
    if len(raw) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"expected {shape} values, got {len(raw)} bytes")
    array: FloatArray = np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")
    return array
