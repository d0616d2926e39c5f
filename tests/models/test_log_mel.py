"""The log-mel trunk: the spectrogram against torchaudio's, and what lies in the weights file."""

import math

import pytest
import torch
import torchaudio.transforms

from emolabel.models.blocks.init import reset_parameters
from emolabel.models.blocks.log_mel import FLOOR, HIGHEST, LOWEST_HZ, LogMel, LogMelTrunk, LoudnessPooling
from emolabel.models.pini2017 import AudioBranch, AudioConfig
from emolabel.sampling import AudioSampling


@pytest.mark.parametrize(("rate", "n_fft", "window", "hop"), [(16_000, 512, 400, 160), (22_050, 1024, 551, 220)])
def test_is_torchaudios_mel_spectrogram(rate: int, n_fft: int, window: int, hop: int) -> None:
    theirs = torchaudio.transforms.MelSpectrogram(
        rate,
        n_fft=n_fft,
        win_length=window,
        hop_length=hop,
        f_min=LOWEST_HZ,
        f_max=HIGHEST * rate,
        n_mels=64,
        pad_mode="constant",
    )
    sound = torch.rand(2, rate, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(LogMel(rate)(sound), torch.log(theirs(sound) + FLOOR), atol=1e-4, rtol=1e-5)


def test_a_tone_sounds_in_its_band_and_silence_is_the_floor() -> None:
    rate, tone_hz = 16_000, 1_000.0
    time = torch.arange(rate) / rate
    bands = LogMel(rate)(torch.stack([torch.sin(2 * math.pi * tone_hz * time), torch.zeros(rate)]))
    assert bands.shape == (2, 64, 101)
    # The HTK scale: 2595 log10(1 + f / 700); the centre of band i is (i + 1) / 65 of the way from 50 Hz to 7.6 kHz.
    low, tone, high = (2595 * math.log10(1 + f / 700) for f in (50, tone_hz, 7600))
    assert bands[0, :, 50].argmax().item() == pytest.approx(65 * (tone - low) / (high - low) - 1, abs=1)
    torch.testing.assert_close(bands[1], torch.full((64, 101), math.log(1e-10)))


@pytest.mark.parametrize("rate", [1_000, 8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_band_hears_something(rate: int) -> None:
    assert (LogMel(rate).filters.sum(dim=0) > 0).all()


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_a_step_for_every_80_ms_at_any_rate(rate: int) -> None:
    trunk = LogMelTrunk(rate).eval()
    with torch.inference_mode():
        assert trunk(torch.zeros(1, 1, rate)).shape == (1, LogMelTrunk.channels, 13)
        assert trunk(torch.zeros(1, 1, 3 * rate)).shape == (1, LogMelTrunk.channels, 38)


def test_gain_does_not_matter_and_silence_has_no_weight() -> None:
    sound = torch.rand(1, 1, 16_000, generator=torch.Generator().manual_seed(0)) - 0.5
    trunk, pool = LogMelTrunk(16_000), LoudnessPooling()
    reset_parameters(trunk, 0)
    reset_parameters(pool, 0)
    trunk.eval()
    with torch.inference_mode():
        torch.testing.assert_close(pool(trunk(sound)), pool(trunk(sound / 50)), atol=1e-3, rtol=1e-3)
        loudness = trunk(torch.nn.functional.pad(sound, (16_000, 16_000)))[0, -1]
    assert loudness[:12].max() < 0.01
    assert loudness[14:24].min() > 0.9
    assert loudness[-12:].max() < 0.01


def test_window_and_filters_are_not_among_the_weights() -> None:
    keys = LogMelTrunk(16_000).state_dict()
    assert not [key for key in keys if "window" in key or "filters" in key]
    assert LogMelTrunk(16_000).load_state_dict(LogMelTrunk(48_000).state_dict()).missing_keys == []


def test_a_branch_of_it_gives_128_features() -> None:
    branch = AudioBranch(AudioConfig(sampling=AudioSampling(16_000, 2.0), trunk="log_mel", gain=1.0))
    reset_parameters(branch, 0)
    branch.eval()
    with torch.inference_mode():
        assert branch.features(torch.rand(2, 32_000) - 0.5).shape == (2, 128)
        assert branch(torch.zeros(1, 1_600)).shape == (1, 7)  # the shortest piece there can be


def test_sound_that_is_too_short_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"seconds must lie in 0\.1-3600, got 0\.07"):
        AudioConfig(sampling=AudioSampling(16_000, 0.07), trunk="log_mel")
