"""Sound at the model's rate, cut so that a stretch equals the same stretch of the whole resampled signal.

Runs in the parent: the decoding child has no torch.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gcd
from typing import Final

import numpy as np
import torch
import torchaudio.transforms

from emolabel.types import AudioClip, Float32Array

_FILTER_WIDTH: Final = 6
"""Zero crossings of the resampling filter on each side, torchaudio's `lowpass_filter_width`."""
_ROLLOFF: Final = 0.99
"""Of the lower of two Nyquist frequencies, where the filter ends; torchaudio's."""
_MOST_TAPS: Final = 2_000_000
"""torchaudio's filter has one for each pair of phases: 0.3 MB for 44,100 to 16,000 Hz, 2.7 GB for 44,101."""
_AT_ONCE: Final = 1 << 14


@lru_cache(maxsize=32)
def _resampler(native_rate_hz: int, rate_hz: int) -> torchaudio.transforms.Resample:
    """Made once: its filter takes longer to compute than to apply to five seconds."""
    return torchaudio.transforms.Resample(native_rate_hz, rate_hz, lowpass_filter_width=_FILTER_WIDTH)


@dataclass(frozen=True)
class Cut:
    """Which samples of a stream are needed for which samples at another rate.

    Both grids begin at 0 s of the container's clock. Every `native_step` native samples they coincide, and the
    native stretch begins on such a point; else the resampler's phase would depend on where the cut lies.
    """

    native_rate_hz: int
    rate_hz: int
    first: int
    """First wanted sample at `rate_hz`."""
    n_samples: int

    @classmethod
    def of_span(cls, start_s: float, end_s: float, native_rate_hz: int, rate_hz: int) -> "Cut":
        """The cut for `[start_s, end_s)`: exactly `round((end_s - start_s) * rate_hz)` samples."""
        return cls(native_rate_hz, rate_hz, round(start_s * rate_hz), round((end_s - start_s) * rate_hz))

    @property
    def native_step(self) -> int:
        return self.native_rate_hz // gcd(self.native_rate_hz, self.rate_hz)

    @property
    def step(self) -> int:
        return self.rate_hz // gcd(self.native_rate_hz, self.rate_hz)

    @property
    def margin_steps(self) -> int:
        """Common points that the filter reaches over on each side."""
        reach = _FILTER_WIDTH * max(1.0, self.native_rate_hz / self.rate_hz) / 0.99 + 2
        return ceil(reach / self.native_step) + 1

    @property
    def native_first(self) -> int:
        return (self.first // self.step - self.margin_steps) * self.native_step

    @property
    def native_n_samples(self) -> int:
        steps = -(-(self.first + self.n_samples) // self.step) + self.margin_steps
        return steps * self.native_step - self.native_first

    def resample(self, native: Float32Array) -> Float32Array:
        """(n_samples,) from the (native_n_samples,) samples at `native_first`; clipped to [-1, 1]."""
        if native.shape != (self.native_n_samples,):
            raise ValueError(f"expected {self.native_n_samples} native samples, got {native.shape}")
        skip = self.first - (self.first // self.step - self.margin_steps) * self.step
        if self.step * self.native_step > _MOST_TAPS:
            wanted = _resampled_point_by_point(native, self.native_step, self.step, skip, self.n_samples)
        else:
            whole = _resampler(self.native_rate_hz, self.rate_hz)(torch.from_numpy(native))
            wanted = whole[skip : skip + self.n_samples].numpy()
        return np.ascontiguousarray(wanted.clip(-1, 1))

    def covered_s(self, runs: tuple[tuple[int, int], ...]) -> float:
        """Seconds of the wanted stretch that lie inside `runs` of native samples."""
        start_s, end_s = self.first / self.rate_hz, (self.first + self.n_samples) / self.rate_hz
        spans = ((begin / self.native_rate_hz, stop / self.native_rate_hz) for begin, stop in runs)
        return sum(max(0.0, min(end_s, stop) - max(start_s, begin)) for begin, stop in spans)

    def clip(self, native: Float32Array, runs: tuple[tuple[int, int], ...], damage: str | None) -> AudioClip:
        """What the model gets of a decoded stretch."""
        return AudioClip(self.resample(native), self.rate_hz, self.covered_s(runs), damage)


def _resampled_point_by_point(native: Float32Array, from_hz: int, to_hz: int, first: int, n: int) -> Float32Array:
    """(n,) samples from number `first` on, with torchaudio's filter (a sinc in a Hann window) computed for each.

    It takes a hundred times as long, and memory only for what is asked for: for rates with next to nothing in common.
    """
    cutoff = _ROLLOFF * min(1.0, to_hz / from_hz)
    reach = ceil(_FILTER_WIDTH / cutoff)
    around = np.arange(-reach, reach + 1)
    padded = np.pad(native, (reach, 2 * reach))
    parts = []
    for start in range(first, first + n, _AT_ONCE):
        wanted = np.arange(start, min(start + _AT_ONCE, first + n))
        nearest, phase = np.divmod(wanted * from_hz, to_hz)
        distance = (around[None] - (phase / to_hz)[:, None]) * cutoff
        window = np.cos(distance.clip(-_FILTER_WIDTH, _FILTER_WIDTH) * np.pi / _FILTER_WIDTH / 2) ** 2
        taps = np.sinc(distance) * window * cutoff
        parts.append((padded[nearest[:, None] + around + reach] * taps).sum(axis=1))
    return np.concatenate(parts or [np.zeros(0)]).astype(np.float32)
