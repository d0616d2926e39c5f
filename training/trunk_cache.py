"""Outputs of frozen trunks on views that are not augmented: computed once, and shared by all epochs and all folds.

A trunk is by far the greater part of the work, and where it is frozen and its input does not change, neither does its
output. The price is that the branch learns without augmentation.
"""

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emolabel.errors import TrainingError
from emolabel.models.pini2017.branches import Branch
from training.prepared import PreparedSet

_VIEWS_PER_PASS = 16
Float16Array = npt.NDArray[np.float16]


class TrunkOutputs:
    """What a trunk makes of every frame or slice of a prepared data set, in half precision, mapped into memory."""

    def __init__(self, branch: Branch, prepared: PreparedSet, modality: str) -> None:
        """Opens the file beside the prepared set, or computes it first; other folds wait for it meanwhile.

        Raises:
            TrainingError: the file cannot be written.
        """
        counts = [_n_views(prepared, number, modality) for number in range(len(prepared))]
        self._ends = list(accumulate(counts))
        self._counts = counts
        path = prepared.cache_folder / f"{modality}-{_digest(branch, prepared)}.npy"
        try:
            with _locked(path.with_suffix(".lock")):
                if not path.exists():
                    _write(branch, prepared, modality, self._ends[-1], path)
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {error}") from error
        self._values: Float16Array = np.load(path, mmap_mode="r")

    def of(self, number: int, places: Any = slice(None)) -> Tensor:
        """(K, ...) outputs for a sample's views, or for some of them; (...) for a single one. float32."""
        start = self._ends[number] - self._counts[number]
        return torch.from_numpy(np.asarray(self._values[start : self._ends[number]][places], np.float32))


def views_of(prepared: PreparedSet, number: int, modality: str) -> npt.NDArray[np.uint8]:
    """(K, S, S, 3) distinct crops of a sample, or (K, L, S, S, 3) slices, in the order of their places."""
    sequence = prepared.crops(number, modality)
    assert sequence is not None
    return sequence.crops if sequence.index.ndim == 1 else sequence.crops[sequence.index]


def _n_views(prepared: PreparedSet, number: int, modality: str) -> int:
    sequence = prepared.crops(number, modality) if getattr(prepared.samples[number], f"has_{modality}") else None
    if sequence is None:
        return 0
    return len(sequence.crops) if sequence.index.ndim == 1 else len(sequence.index)


def _digest(branch: Branch, prepared: PreparedSet) -> str:
    """Of everything that the outputs depend on."""
    digest = hashlib.sha256(prepared.fingerprint().encode())
    digest.update(repr(branch.normalise).encode())
    for key, value in [*branch.trunk.state_dict().items(), *branch.normalise.state_dict().items()]:
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _write(branch: Branch, prepared: PreparedSet, modality: str, n_views: int, path: Path) -> None:
    device = branch.classifier.weight.device
    branch.trunk.eval()
    draft = path.with_name(f".{uuid.uuid4().hex}.npy")
    values: np.memmap[Any, np.dtype[np.float16]] | None = None
    first = 0
    try:
        for number in range(len(prepared)):
            if not _n_views(prepared, number, modality):
                continue
            outputs = _passed(lambda x: branch.trunk(branch.normalise(x)), views_of(prepared, number, modality), device)
            if values is None:
                shape = (n_views, *outputs.shape[1:])
                values = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float16, shape=shape)
            values[first : first + len(outputs)] = outputs
            first += len(outputs)
        if values is None:
            raise TrainingError(f"{prepared.folder} has nothing for the {modality} branch")
        values.flush()
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _passed(
    function: Callable[[Tensor], Tensor], views: Sequence[Any] | npt.NDArray[Any], device: torch.device
) -> Float16Array:
    with torch.inference_mode():
        parts = [
            function(torch.from_numpy(np.ascontiguousarray(views[first : first + _VIEWS_PER_PASS])).to(device))
            for first in range(0, len(views), _VIEWS_PER_PASS)
        ]
    outputs: Float16Array = torch.cat(parts).half().cpu().numpy()
    return outputs


@contextmanager
def _locked(path: Path) -> Any:
    with path.open("w") as file:
        flock(file, LOCK_EX)
        yield
