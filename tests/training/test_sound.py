"""Stretches of recordings: which samples they are made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.background import background
from training.settings import SoundSettings
from training.sound import active_part, stretch_of

RATE_HZ = 8_000


def speech(before_s: float, speech_s: float, after_s: float) -> np.ndarray:
    """Loud in the middle, 50 dB quieter around it."""
    parts = [(before_s, 0.001), (speech_s, 0.3), (after_s, 0.001)]
    random = np.random.default_rng(0)
    return np.concatenate([level * random.uniform(-1, 1, round(s * RATE_HZ)) for s, level in parts]).astype(np.float32)


def test_the_active_part_is_the_loud_one() -> None:
    start, end = active_part(speech(1.0, 0.5, 2.0), RATE_HZ)
    assert start == pytest.approx(1.0 * RATE_HZ, abs=0.021 * RATE_HZ)
    assert end == pytest.approx(1.5 * RATE_HZ, abs=0.021 * RATE_HZ)


@given(st.integers(1, 20_000), st.integers(0, 9))
def test_the_papers_second_is_a_part_of_the_recording_as_it_is(n: int, seed: int) -> None:
    sound = np.arange(1, n + 1, dtype=np.float32)
    heard = stretch_of(sound, RATE_HZ, RATE_HZ, SoundSettings(), np.random.default_rng(seed))
    assert len(heard) == RATE_HZ
    kept = heard[: min(n, RATE_HZ)]
    assert np.array_equal(kept, np.arange(kept[0], kept[0] + len(kept)))
    assert not heard[len(kept) :].any()


def test_every_second_of_a_recording_may_come() -> None:
    sound = np.arange(3 * RATE_HZ, dtype=np.float32)
    random = np.random.default_rng(0)
    starts = [stretch_of(sound, RATE_HZ, RATE_HZ, SoundSettings(), random)[0] for _ in range(300)]
    assert min(starts) < 0.1 * RATE_HZ
    assert max(starts) > 1.9 * RATE_HZ


@given(st.integers(0, 200))
def test_around_speech_there_is_always_some(seed: int) -> None:
    settings = SoundSettings(around_speech=True, speed=1.15, noise=0.5)
    sound = speech(2.0, 0.6, 2.0)
    heard = stretch_of(sound, 2 * RATE_HZ, RATE_HZ, settings, np.random.default_rng(seed))
    assert len(heard) == 2 * RATE_HZ
    assert heard.dtype == np.float32
    loud = np.abs(heard) > 0.05
    assert loud.sum() > 0.3 * RATE_HZ


def test_speed_changes_the_pitch_by_at_most_its_factor() -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(3 * RATE_HZ) / RATE_HZ).astype(np.float32)
    random = np.random.default_rng(0)
    pitches = []
    for _ in range(60):
        heard = stretch_of(tone, RATE_HZ, RATE_HZ, SoundSettings(speed=1.25), random)
        pitches.append(int(np.abs(np.fft.rfft(heard)).argmax()))
    assert 318 <= min(pitches) < 335
    assert 480 < max(pitches) <= 502


def test_background_is_of_all_kinds_and_levels() -> None:
    sounds = background(50, RATE_HZ, RATE_HZ, np.random.default_rng(0))
    assert sounds.shape == (50, RATE_HZ)
    assert np.isfinite(sounds).all()
    peaks = np.abs(sounds).max(axis=1)
    assert peaks.max() <= 10 ** (-6 / 20) + 1e-6
    assert peaks.min() < 0.01 < 0.2 < peaks.max()
    power = np.abs(np.fft.rfft(sounds)) ** 2
    flatness = np.exp(np.log(power + 1e-20).mean(axis=1)) / power.mean(axis=1)
    assert (flatness > 0.4).sum() >= 10  # noise
    assert (flatness < 0.05).sum() >= 10  # tones and music
