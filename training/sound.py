"""Random stretches of a recording, as a network that listens is to hear them."""

import numpy as np

from emolabel.types import Float32Array
from training.settings import SoundSettings

_FRAME_S = 0.02
_ACTIVE_DB = 30.0
"""Frames that are not more than this below the loudest one belong to the active part."""
_CONTEXT_S = 0.5
_SNR_DB = (3.0, 35.0)


def active_part(sound: Float32Array, rate_hz: int) -> tuple[int, int]:
    """`[start, end)` in samples, from the first to the last frame that is loud enough."""
    step = max(1, round(_FRAME_S * rate_hz))
    whole = sound[: len(sound) // step * step].reshape(-1, step)
    if not len(whole):
        return 0, len(sound)
    power = np.square(whole).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-_ACTIVE_DB / 10))
    return int(loud[0]) * step, min(len(sound), (int(loud[-1]) + 1) * step)


def stretch_of(
    sound: Float32Array, length: int, rate_hz: int, settings: SoundSettings, random: np.random.Generator
) -> Float32Array:
    """A random stretch of `length` samples; a recording that is shorter lies in zeros, at the start or anywhere.

    Args:
        sound: (n,) samples.
    """
    speed = float(np.exp(random.uniform(-1, 1) * np.log(settings.speed))) if settings.speed > 1 else 1.0
    wanted = round(length * speed)
    first, last = 0, len(sound)
    if settings.around_speech:
        context = round(random.uniform(0, _CONTEXT_S) * rate_hz)
        start, end = active_part(sound, rate_hz)
        first, last = max(0, start - context), min(len(sound), end + context)
    start = int(random.integers(first, max(first, last - wanted) + 1))
    taken = sound[start : min(start + wanted, last) if settings.around_speech else start + wanted]
    if speed != 1:
        taken = np.interp(np.arange(int(len(taken) / speed)) * speed, np.arange(len(taken)), taken).astype(np.float32)
    heard = np.zeros(length, np.float32)
    taken = taken[:length]
    place = int(random.integers(0, length - len(taken) + 1)) if settings.around_speech else 0
    heard[place : place + len(taken)] = taken
    if settings.noise and random.random() < settings.noise:
        heard += _noise(heard, random)
    return heard


def _noise(sound: Float32Array, random: np.random.Generator) -> Float32Array:
    """White to red noise at a random distance from the sound's own level."""
    spectrum = np.fft.rfft(random.standard_normal(len(sound)))
    coloured = np.fft.irfft(spectrum / (np.arange(len(spectrum)) + 1) ** random.uniform(0, 1), len(sound))
    level = np.sqrt(np.square(sound).mean()) * 10 ** (-random.uniform(*_SNR_DB) / 20)
    noise: Float32Array = (coloured / max(float(coloured.std()), 1e-12) * level).astype(np.float32)
    return noise
