"""A small network over the log-mel spectrogram, for data that is too little to train SoundNet from scratch."""

from typing import Final

import torch
import torchaudio.functional
from torch import Tensor, nn
from torch.nn import functional as F

from emolabel.models.blocks.frozen import Freezable

N_MELS: Final = 64
WINDOW_S: Final = 0.025
HOP_S: Final = 0.010
MIN_FFT: Final = 512
"""Samples of the transform at least: with fewer the lowest of the 64 bands would fall between two bins."""
LOWEST_HZ: Final = 50.0
HIGHEST: Final = 0.475
"""Of the sample rate."""
FLOOR: Final = 1e-10
"""Added to the power before the logarithm."""

# In nats of power: 2.3 are 10 dB.
_ACTIVE: Final = 6.9
"""Frames that are not more than 30 dB below the loudest one count as active."""
_QUIETEST: Final = -17.0
"""Below this level a recording is not raised any more: silence stays silence."""
_DEPTH: Final = 9.0
"""So far under the mean of the active part everything is equally silent."""
_GATE, _GATE_WIDTH = 6.2, 0.5
_WIDTHS: Final = (16, 32, 64, 128)
_FEATURES: Final = 128


class LogMel(nn.Module):
    """The spectrogram itself: windows of 25 ms every 10 ms, 64 bands on the HTK mel scale, natural logarithm of power.

    Window and filters follow from the sample rate, so they are not among the weights.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        length = round(WINDOW_S * sample_rate_hz)
        self.n_fft = max(MIN_FFT, 1 << (length - 1).bit_length())
        self.hop = round(HOP_S * sample_rate_hz)
        highest_hz = HIGHEST * sample_rate_hz
        filters = torchaudio.functional.melscale_fbanks(
            self.n_fft // 2 + 1, LOWEST_HZ, highest_hz, N_MELS, sample_rate_hz
        )
        self.register_buffer("window", torch.hann_window(length), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """(N, n) samples to (N, 64, 1 + n // hop)."""
        spectrum = torch.stft(
            sound,
            self.n_fft,
            self.hop,
            win_length=len(self.window),
            window=self.window,
            pad_mode="constant",  # a mirrored end would let a clip that is cut off sound on
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        bands = torch.matmul(power.transpose(1, 2), self.filters).transpose(1, 2)
        return torch.log(bands + FLOOR)


class LogMelTrunk(Freezable):
    """Four convolutions over the spectrogram; the level of the recording is taken off, so that gain does not matter.

    A last channel tells how loud each step is beside the loudest: what follows can leave out the pauses, and the
    answer depends little on how much silence there is around the speech.
    """

    channels = _FEATURES + 1

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.spectrogram = LogMel(sample_rate_hz)
        blocks = [
            _block(n_in, n_out, kernel=5 if number == 0 else 3, stride=(2, 2 if number < 3 else 1))
            for number, (n_in, n_out) in enumerate(zip((1, *_WIDTHS), _WIDTHS, strict=False))
        ]
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Sequential(
            nn.Conv1d(_WIDTHS[-1] * N_MELS // 16, _FEATURES, kernel_size=1, bias=False),
            nn.BatchNorm1d(_FEATURES),
            nn.ReLU(),
        )

    def forward(self, sound: Tensor) -> Tensor:
        """(N, 1, n) samples, best of -1 to 1, to (N, 129, T'): a step for every 80 ms."""
        levelled = _levelled(self.spectrogram(sound[:, 0]))
        features = self.project(self.blocks(levelled[:, None]).flatten(1, 2))
        loudness = F.adaptive_avg_pool1d(_loudness(levelled), features.shape[2])
        return torch.cat([features, loudness], dim=1)


class LoudnessPooling(nn.Module):
    """Mean and standard deviation over time, weighted by loudness and a learnt attention per channel.

    After attentive statistics pooling (Okabe et al., Interspeech 2018, https://arxiv.org/abs/1803.10963).
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Conv1d(_FEATURES, 64, 1), nn.Tanh(), nn.Conv1d(64, _FEATURES, 1))

    def forward(self, steps: Tensor) -> Tensor:
        """(N, 129, T') of `LogMelTrunk` to (N, 256)."""
        features, loudness = steps[:, :-1], steps[:, -1:]
        weights = loudness * self.attention(features).softmax(dim=2)
        weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(1e-6)
        mean = (features * weights).sum(dim=2)
        variance = (weights * features.square()).sum(dim=2) - mean.square()
        return torch.cat([mean, variance.clamp_min(1e-4).sqrt()], dim=1)


def _levelled(log_mel: Tensor) -> Tensor:
    """The mean level of the active frames is taken off; then roughly -1.7 to 3."""
    energy = log_mel.logsumexp(dim=1, keepdim=True)
    active = energy > energy.amax(dim=2, keepdim=True) - _ACTIVE
    mean = (energy.exp() * active).sum(dim=(1, 2)) / (N_MELS * active.sum(dim=(1, 2)))
    lowered = log_mel - mean.log().clamp_min(_QUIETEST)[:, None, None]
    return (lowered.clamp_min(-_DEPTH) + 4) / 3


def _loudness(levelled: Tensor) -> Tensor:
    """(N, 1, T) weight of each frame, 0 to 1: half at 27 dB below the loudest."""
    energy = (3 * levelled).logsumexp(dim=1, keepdim=True)
    return torch.sigmoid((energy - energy.amax(dim=2, keepdim=True) + _GATE) / _GATE_WIDTH)


def _block(n_in: int, n_out: int, kernel: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
    )
