"""Sound without speech, made up: noise, tones and chords. A branch that hears it should not be sure."""

import numpy as np

from emolabel.types import Float32Array, Float64Array

_KINDS = ("white", "pink", "tones", "music")


def background(n: int, length: int, rate_hz: int, random: np.random.Generator) -> Float32Array:
    """(n, length) float32 in -1 to 1: equal shares of each kind.

    Levels reach from -6 dB of full scale down to -70 dB: the hiss of a silent room.
    """
    sounds = np.stack([_sound(_KINDS[k % len(_KINDS)], length, rate_hz, random) for k in range(n)])
    peak = np.abs(sounds).max(axis=1, keepdims=True).clip(1e-9)
    level = 10 ** (random.uniform(-70, -6, (n, 1)) / 20)
    scaled: Float32Array = (sounds / peak * level).astype(np.float32)
    return scaled


def _sound(kind: str, length: int, rate_hz: int, random: np.random.Generator) -> Float32Array:
    if kind == "white":
        return random.standard_normal(length, dtype=np.float32)
    if kind == "pink":
        spectrum = np.fft.rfft(random.standard_normal(length))
        return np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), length).astype(np.float32)
    seconds = np.arange(length) / rate_hz
    if kind == "tones":
        return _chord(random.uniform(60, 4000, random.integers(1, 4)), seconds, random)
    notes = []
    step = int(rate_hz * random.uniform(0.15, 0.6))
    for first in range(0, length, step):
        root = 110 * 2 ** (random.integers(0, 36) / 12)
        part = seconds[first : first + step]
        decay = np.exp(-random.uniform(0, 4) * (part - part[0]))
        notes.append(_chord(root * np.array([1, 1.26, 1.5, 2])[: random.integers(1, 5)], part, random) * decay)
    return np.concatenate(notes).astype(np.float32)


def _chord(frequencies_hz: Float64Array, seconds: Float64Array, random: np.random.Generator) -> Float32Array:
    """Each note with four harmonics."""
    sound = np.zeros(len(seconds))
    for frequency in frequencies_hz:
        for harmonic in range(1, 5):
            phase = random.uniform(0, 2 * np.pi)
            sound += np.sin(2 * np.pi * frequency * harmonic * seconds + phase) / harmonic ** random.uniform(1, 2)
    return sound.astype(np.float32)
