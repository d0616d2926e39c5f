"""Clips of numpy arrays to tensors of a batch, each distinct crop and slice once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolabel.sampling import AudioSampling, FrameSampling, SliceSampling
from emolabel.types import ClipInputs, CropSequence, Float32Array

EXCESS_S = 0.01
"""Sound may be longer than asked for by this much: rounding of times to samples."""


@dataclass(frozen=True, eq=False)
class VisualBatch:
    """What the clips of a batch show to one branch.

    A short window repeats frames and slices; each goes through the trunk once.
    """

    crops: Tensor
    """(U, S, S, 3) uint8."""
    views: Tensor
    """(V,) distinct frames, or (V, L) distinct slices: indices into `crops`."""
    places: Tensor
    """(n, K) which view stands at each place of each clip."""
    rows: Tensor
    """(n,) which clips of the batch these are."""


@dataclass(frozen=True, eq=False)
class AudioBatch:
    """What the clips of a batch let hear."""

    samples: Tensor
    """(n, n_samples) float32."""
    rows: Tensor
    """(n,) which clips of the batch these are."""


def collate_visual(
    sequences: Sequence[CropSequence | None], sampling: FrameSampling | SliceSampling, device: torch.device
) -> VisualBatch | None:
    """Crops of all clips, one after the other; None where no clip has any.

    Raises:
        ValueError: crops or counts differ from what `sampling` says.
    """
    crops, views, places, rows = [], [], [], []
    n_crops = n_views = 0
    for row, sequence in enumerate(sequences):
        if sequence is None:
            continue
        _check_sequence(sequence, sampling)
        distinct, inverse = np.unique(sequence.index, axis=0, return_inverse=True)
        crops.append(torch.from_numpy(sequence.crops))
        views.append(torch.from_numpy(distinct.astype(np.int64) + n_crops))
        places.append(torch.from_numpy(inverse.reshape(-1).astype(np.int64) + n_views))
        rows.append(row)
        n_crops += len(sequence.crops)
        n_views += len(distinct)
    if not rows:
        return None
    return VisualBatch(
        crops=torch.cat(crops).to(device),
        views=torch.cat(views).to(device),
        places=torch.stack(places).to(device),
        rows=torch.tensor(rows, device=device),
    )


def collate_audio(
    sounds: Sequence[Float32Array | None], sampling: AudioSampling, device: torch.device
) -> AudioBatch | None:
    """Sound of all clips, padded with zeros at the end; None where no clip has any.

    Raises:
        ValueError: more sound than `sampling` asks for, or values that are not finite.
    """
    rows = [row for row, sound in enumerate(sounds) if sound is not None]
    if not rows:
        return None
    padded = [_fitted(sound, sampling) for sound in sounds if sound is not None]
    return AudioBatch(torch.from_numpy(np.stack(padded)).to(device), torch.tensor(rows, device=device))


def audible(clips: Sequence[ClipInputs]) -> list[Float32Array | None]:
    """The sound of each clip; an empty array is no sound."""
    return [None if clip.audio is None or clip.audio.size == 0 else clip.audio for clip in clips]


def _check_sequence(sequence: CropSequence, sampling: FrameSampling | SliceSampling) -> None:
    shape = (sampling.count,) if isinstance(sampling, FrameSampling) else (sampling.count, sampling.length)
    if sequence.index.shape != shape:
        raise ValueError(f"expected an index of {shape}, got {sequence.index.shape}")
    if sequence.crops.shape[1] != sampling.crop_px:
        raise ValueError(f"expected crops of {sampling.crop_px} px, got {sequence.crops.shape[1]}")


def _fitted(sound: Float32Array, sampling: AudioSampling) -> Float32Array:
    n = sampling.n_samples
    if sound.ndim != 1 or len(sound) > n + EXCESS_S * sampling.sample_rate_hz:
        raise ValueError(f"expected at most {n} samples (n,), got {sound.shape}")
    if not np.all(np.isfinite(sound)):
        raise ValueError("expected finite samples, got NaN or infinity")
    return np.pad(sound[:n], (0, n - len(sound[:n]))).astype(np.float32)
