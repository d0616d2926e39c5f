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
    """(V, n_samples) float32: the pieces of all clips, one after the other."""
    places: Tensor
    """(n, K) which piece stands at each place of each clip."""
    present: Tensor
    """(n, K) bool: False where a clip has fewer pieces than the longest one; any piece stands there."""
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
        crops=_sent(torch.cat(crops), device),
        views=_sent(torch.cat(views), device),
        places=_sent(torch.stack(places), device),
        rows=_sent(torch.tensor(rows), device),
    )


def collate_audio(
    sounds: Sequence[Float32Array | None],
    sampling: AudioSampling,
    device: torch.device,
    piece_samples: int | None = None,
) -> AudioBatch | None:
    """Sound of all clips in pieces, padded with zeros at the end; None where no clip has any.

    Args:
        piece_samples: length of a piece; None: all that `sampling` asks for.

    Raises:
        ValueError: more sound than `sampling` asks for, or values that are not finite.
    """
    length = sampling.n_samples if piece_samples is None else piece_samples
    rows = [row for row, sound in enumerate(sounds) if sound is not None]
    if not rows:
        return None
    slack = round(EXCESS_S * sampling.sample_rate_hz)
    pieces = [cut(_checked(sound, sampling), length, slack) for sound in sounds if sound is not None]
    counts = torch.tensor([len(each) for each in pieces])
    firsts = counts.cumsum(0) - counts
    steps = torch.arange(int(counts.max()))
    present = steps < counts[:, None]
    return AudioBatch(
        samples=_sent(torch.from_numpy(np.concatenate(pieces)), device),
        places=_sent(torch.where(present, firsts[:, None] + steps, 0), device),
        present=_sent(present, device),
        rows=_sent(torch.tensor(rows), device),
    )


def cut(sound: Float32Array, length: int, slack: int = 0) -> Float32Array:
    """(n,) samples to (K, length) pieces: each follows the last, and the final one ends where the sound ends.

    Sound that is shorter than a piece is one, with zeros at its end. Digital silence is no sound: what is padded with
    it is cut as if it were not, and a piece of nothing else is left out, unless there is no other.

    Args:
        slack: samples that make no further piece. The final one still ends with the sound, and leaves a gap.

    >>> cut(np.arange(1, 8, dtype=np.float32), 3).tolist()
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [5.0, 6.0, 7.0]]
    >>> cut(np.array([1, 2, 0, 0], np.float32), 3).tolist()
    [[1.0, 2.0, 0.0]]
    """
    sound = np.trim_zeros(sound, "b")
    count = max(1, -(-(len(sound) - slack) // length))
    starts = [*range(0, (count - 1) * length, length), max(len(sound) - length, 0)]
    padded = np.pad(sound, (0, max(length - len(sound), 0)))
    pieces: Float32Array = np.stack([padded[start : start + length] for start in starts]).astype(np.float32)
    heard = pieces.any(axis=1)
    return pieces[heard] if heard.any() else pieces[:1]


def audible(clips: Sequence[ClipInputs]) -> list[Float32Array | None]:
    """The sound of each clip; an empty array is no sound."""
    return [None if clip.audio is None or clip.audio.size == 0 else clip.audio for clip in clips]


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """From pinned memory a GPU fetches them itself, while this process goes on; from other memory it would wait."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def _check_sequence(sequence: CropSequence, sampling: FrameSampling | SliceSampling) -> None:
    shape = (sampling.count,) if isinstance(sampling, FrameSampling) else (sampling.count, sampling.length)
    if sequence.index.shape != shape:
        raise ValueError(f"expected an index of {shape}, got {sequence.index.shape}")
    if sequence.crops.shape[1] != sampling.crop_px:
        raise ValueError(f"expected crops of {sampling.crop_px} px, got {sequence.crops.shape[1]}")


def _checked(sound: Float32Array, sampling: AudioSampling) -> Float32Array:
    n = sampling.n_samples
    if sound.ndim != 1 or len(sound) > n + EXCESS_S * sampling.sample_rate_hz:
        raise ValueError(f"expected at most {n} samples (n,), got {sound.shape}")
    if not np.all(np.isfinite(sound)):
        raise ValueError("expected finite samples, got NaN or infinity")
    return sound[:n]
