"""Outputs of frozen trunks on views that are not augmented: computed once, and shared by all epochs and all folds.

A trunk is by far the greater part of the work, and where it is frozen and its input does not change, neither does its
output. The price is that the branch learns without augmentation.
"""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
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
_VIEWS_PER_PART = 16
Float16Array = npt.NDArray[np.float16]


class TrunkOutputs:
    """What a trunk makes of every frame or slice of a prepared data set, in half precision, mapped into memory."""

    def __init__(self, branch: Branch, prepared: PreparedSet, modality: str) -> None:
        """Opens the file beside the prepared set, or computes it first, together with the other folds.

        Raises:
            TrainingError: the file cannot be written.
        """
        counts = [_n_views(prepared, number, modality) for number in range(len(prepared))]
        self._ends = list(accumulate(counts))
        self._counts = counts
        path = prepared.cache_folder / f"{modality}-{_digest(branch, prepared)}.npy"
        try:
            if not path.exists():
                _Work(branch, prepared, modality, counts, path).do()
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


class _Work:
    """The outputs for all of a set, in parts. Whoever needs them takes parts that nobody else is at."""

    def __init__(self, branch: Branch, prepared: PreparedSet, modality: str, counts: Sequence[int], path: Path) -> None:
        self._branch, self._prepared, self._modality, self._path = branch, prepared, modality, path
        self._parts: list[list[int]] = []
        self._n_views: list[int] = []
        for number in np.flatnonzero(counts).tolist():
            if not self._parts or self._n_views[-1] >= _VIEWS_PER_PART:
                self._parts.append([])
                self._n_views.append(0)
            self._parts[-1].append(number)
            self._n_views[-1] += counts[number]
        if not self._parts:
            raise TrainingError(f"{prepared.folder} has nothing for the {modality} branch")

    def do(self) -> None:
        """Until the file is there, whoever has written it."""
        for wait in (False, True):  # a lock ends with its process: what a dead fold began is taken in the second round
            for part in range(len(self._parts)):
                if self._path.exists():
                    return
                with _lock(self._of_part(part, ".lock"), wait) as mine:
                    if mine and not self._of_part(part, ".npy").exists() and not self._path.exists():
                        outputs = self._compute(self._parts[part])
                        _save(outputs, self._n_views[part], self._of_part(part, ".npy"))
        with _lock(self._path.with_suffix(".lock"), wait=True):
            if not self._path.exists():
                files = [self._of_part(part, ".npy") for part in range(len(self._parts))]
                _save((np.load(file, mmap_mode="r") for file in files), sum(self._n_views), self._path)
                for file in files:
                    file.unlink()
                    file.with_suffix(".lock").unlink()

    def _of_part(self, part: int, suffix: str) -> Path:
        return self._path.with_name(f"{self._path.stem}.{part:05}{suffix}")

    def _compute(self, numbers: Sequence[int]) -> Iterator[Float16Array]:
        trunk, normalise = self._branch.trunk.eval(), self._branch.normalise
        device = self._branch.classifier.weight.device
        for number in numbers:
            yield _passed(lambda x: trunk(normalise(x)), views_of(self._prepared, number, self._modality), device)


def _save(outputs: Iterable[Float16Array], n_views: int, path: Path) -> None:
    """One after another in one file, which appears as a whole."""
    draft = path.with_name(f".{uuid.uuid4().hex}.npy")
    values: np.memmap[Any, np.dtype[np.float16]] | None = None
    first = 0
    try:
        for some in outputs:
            if values is None:
                shape = (n_views, *some.shape[1:])
                values = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float16, shape=shape)
            values[first : first + len(some)] = some
            first += len(some)
        assert values is not None
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
def _lock(path: Path, wait: bool) -> Iterator[bool]:
    """Whether this process has it."""
    with path.open("w") as file:
        try:
            flock(file, LOCK_EX if wait else LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
