from contextlib import AbstractContextManager, closing
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torchaudio.functional
from av.container import InputContainer
from hypothesis import assume, given
from hypothesis import strategies as st

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError
from emolabel.media import audio, resample
from emolabel.media.audio import SoundReader, Stretch, mono_of
from emolabel.media.probe import probe_file
from emolabel.media.resample import Cut
from emolabel.media.source import open_container
from emolabel.types import AudioClip, AudioInfo
from tests.media.media_files import boxes, tone, write_sound

torch.set_num_threads(1)


def audio_of(path: Path) -> AudioInfo:
    info = probe_file(str(path), DecodeLimits()).audio
    assert info is not None
    return info


def heard(path: Path, info: AudioInfo, first: int, n_samples: int) -> Stretch:
    with closing(SoundReader(str(path), info)) as reader:
        return reader.stretch(first, n_samples)


def stretch_of(path: Path, start_s: float, end_s: float) -> Stretch:
    info = audio_of(path)
    rate = info.sample_rate_hz
    return heard(path, info, round(start_s * rate), round((end_s - start_s) * rate))


def clip_of(path: Path, start_s: float, end_s: float, rate: int) -> AudioClip:
    info = audio_of(path)
    cut = Cut.of_span(start_s, end_s, info.sample_rate_hz, rate)
    stretch = heard(path, info, cut.native_first, cut.native_n_samples)
    return cut.clip(stretch.samples, stretch.runs, stretch.damage)


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.mov", "pcm_s16le"), ("a.flac", "flac")])
def test_lossless_sound_comes_back(tmp_path: Path, name: str, codec: str) -> None:
    samples = tone(3.0)
    path = write_sound(tmp_path / name, samples, codec=codec)
    for start_s, end_s in ((0.0, 3.0), (0.5, 0.6), (2.2, 2.9)):
        stretch = stretch_of(path, start_s, end_s)
        expected = samples[round(start_s * 16_000) : round(end_s * 16_000)]
        assert np.abs(stretch.samples - expected).max() < 1e-4
        assert stretch.damage is None


def test_outside_the_stream_is_silence(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1.0))
    stretch = stretch_of(path, -0.5, 2.0)
    assert np.all(stretch.samples[:8000] == 0)
    assert np.all(stretch.samples[24_000:] == 0)
    assert stretch.runs == ((0, 16_000),)
    assert stretch_of(path, 5.0, 6.0).runs == ()


def test_sound_that_starts_late_ends_early_and_has_a_hole(tmp_path: Path) -> None:
    samples = tone(4.0)
    pieces = [(8_000, 24_000), (40_000, 56_000)]
    path = write_sound(tmp_path / "holes.mkv", samples, pieces=pieces, with_video_s=4.0)
    stretch = stretch_of(path, 0.0, 4.0)
    expected = np.zeros_like(samples)
    for first, stop in pieces:
        expected[first:stop] = samples[first:stop]
    assert np.abs(stretch.samples - expected).max() < 1e-4
    assert stretch.runs == tuple(pieces)
    assert clip_of(path, 0.0, 4.0, 22_050).covered_s == pytest.approx(2.0, abs=1e-3)
    assert clip_of(path, 1.0, 2.0, 22_050).covered_s == pytest.approx(0.5, abs=1e-3)
    assert clip_of(path, 1.6, 2.4, 22_050).covered_s == 0


def test_the_late_sound_of_a_real_file(shared_videos: Path) -> None:
    path = shared_videos / "clear" / "face_then_noface_vfr_hevc_pyfeat.mov"
    assert clip_of(path, 0.0, 2.0, 22_050).covered_s == 0
    assert clip_of(path, 3.0, 4.0, 22_050).covered_s == pytest.approx(1.0)


def test_a_seek_gives_the_same_sound_as_reading_from_the_start(shared_videos: Path) -> None:
    for name, at_s in (("clear/failing_audio_moviepy.mp4", 3), ("clear/multistream_nasa_13013.mp4", 9)):
        path = shared_videos / name
        info = audio_of(path)
        whole = stretch_of(path, 0.0, 11.0)
        first = at_s * info.sample_rate_hz
        part = heard(path, info, first, info.sample_rate_hz)
        assert np.abs(part.samples - whole.samples[first : first + info.sample_rate_hz]).max() < 1e-4
        assert np.abs(part.samples).max() > 0


@pytest.mark.parametrize(
    "name",
    [
        "clear/face1_turning_handoverface_pexels.mp4",
        "clear/failing_audio_moviepy.mp4",
        "derived/three_speakers_hard_cuts.mp4",
        "derived/vp9_opus_face_speech.webm",
        "derived/gray_ffv1_flac_face_speech.mkv",
        "clear/face1_speech_grid_sbia1a.mpg",
    ],
)
def test_a_reader_that_has_read_gives_what_a_new_one_gives(shared_videos: Path, name: str) -> None:
    """To the bit: stereo AAC and Opus make up noise from what they decoded before."""
    path = shared_videos / name
    info = audio_of(path)
    random = np.random.default_rng(3)
    with closing(SoundReader(str(path), info)) as reader:
        for start_s in [*np.arange(0, 8, 0.8), *random.uniform(-0.5, 8, 10)]:
            first, n_samples = round(start_s * info.sample_rate_hz), round(0.7 * info.sample_rate_hz)
            kept, new = reader.stretch(first, n_samples), heard(path, info, first, n_samples)
            assert (kept.runs, kept.damage) == (new.runs, new.damage)
            assert np.array_equal(kept.samples, new.samples)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "flac"), ("a.mkv", "mp3"), ("a.flv", "aac"), ("a.mp3", "mp3")])
def test_so_it_does_where_the_index_grows(tmp_path: Path, name: str, codec: str) -> None:
    path = write_sound(tmp_path / name, tone(30.0), codec=codec)
    info = audio_of(path)
    with closing(SoundReader(str(path), info)) as reader:
        for first in range(0, 25 * 16_000, 40_000):
            assert np.array_equal(reader.stretch(first, 40_000).samples, heard(path, info, first, 40_000).samples)


def test_reading_on_opens_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of an MP4 of hours takes longer to read than a window's sound."""
    path = write_sound(tmp_path / "a.m4a", tone(20.0), codec="aac")
    info = audio_of(path)
    opened: list[str] = []

    def count(file: str) -> AbstractContextManager[InputContainer]:
        opened.append(file)
        return open_container(file)

    monkeypatch.setattr(audio, "open_container", count)
    with closing(SoundReader(str(path), info)) as reader:
        for start_s in (2, 5, 8, 11):
            assert reader.stretch(start_s * 16_000, 48_000).runs == ((start_s * 16_000, (start_s + 3) * 16_000),)
    assert opened == [str(path)]


@pytest.mark.parametrize("rate", [22_050, 16_000, 44_100, 11_025, 48_000])
def test_a_cut_equals_the_same_stretch_of_the_whole_resampled(shared_videos: Path, rate: int) -> None:
    path = shared_videos / "clear" / "failing_audio_moviepy.mp4"
    whole = stretch_of(path, 0.0, 11.0)
    resampled = torchaudio.functional.resample(torch.from_numpy(whole.samples), 44_100, rate).numpy()
    for start_s, end_s in ((0.0, 1.0), (3.217, 4.217), (9.0, 9.0313)):
        clip = clip_of(path, start_s, end_s, rate)
        first = round(start_s * rate)
        assert len(clip.samples) == round((end_s - start_s) * rate)
        assert np.abs(clip.samples - resampled[first : first + len(clip.samples)]).max() < 1e-4


@given(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000]),
    st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    st.floats(-2, 20),
    st.floats(0.001, 0.5),
)
def test_any_cut_has_its_length_and_equals_the_whole(native: int, rate: int, start_s: float, length_s: float) -> None:
    cut = Cut.of_span(start_s, start_s + length_s, native, rate)
    before = cut.native_step * 40
    grid = np.arange(cut.native_first - before, cut.native_first + cut.native_n_samples + before)
    signal = (0.4 * np.sin(grid * 0.05) + 0.3 * np.cos(grid * 0.013)).astype(np.float32)
    clip = cut.resample(signal[before:-before])
    assert clip.shape == (round((start_s + length_s - start_s) * rate),)
    whole = torchaudio.functional.resample(torch.from_numpy(signal), native, rate).numpy()
    at = cut.first - (cut.native_first - before) // cut.native_step * cut.step
    assert np.abs(clip - whole[at : at + len(clip)]).max(initial=0) < 1e-4


@given(
    st.sampled_from([11_025, 16_000, 22_050, 44_100, 48_000]),
    st.sampled_from([8_000, 16_000, 22_050, 44_100]),
    st.floats(-2, 20),
    st.floats(0.001, 0.5),
)
def test_without_a_filter_for_all_phases_it_comes_out_the_same(
    native: int, rate: int, start_s: float, length_s: float
) -> None:
    assume(native != rate)  # the library has nothing to do then
    cut = Cut.of_span(start_s, start_s + length_s, native, rate)
    signal = np.random.default_rng(1).uniform(-0.5, 0.5, cut.native_n_samples).astype(np.float32)
    with_filter = cut.resample(signal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "_MOST_TAPS", 0)
        assert np.abs(cut.resample(signal) - with_filter).max(initial=0) < 1e-4


def test_rates_that_have_nothing_in_common() -> None:
    """A filter for all phases of 44,101 to 16,000 Hz would take 2.7 GB."""
    cut = Cut.of_span(7.3, 8.3, 44_101, 16_000)
    native_s = (cut.native_first + np.arange(cut.native_n_samples)) / 44_101
    clip = cut.resample(np.sin(2 * np.pi * 440 * native_s).astype(np.float32))
    expected = np.sin(2 * np.pi * 440 * (cut.first + np.arange(cut.n_samples)) / 16_000)
    assert np.abs(clip - expected).max() < 2e-3


@pytest.mark.parametrize("sample_format", ["u8", "s16", "s32", "flt", "dbl", "u8p", "s16p", "s32p", "fltp", "dblp"])
def test_every_sample_format_becomes_the_mean_of_its_channels(sample_format: str) -> None:
    left, right = tone(0.1), np.full(1600, 0.25, np.float32)
    planar = av.AudioFrame.from_ndarray(np.stack([left, right]), format="fltp", layout="stereo")
    planar.sample_rate = 16_000
    (frame,) = av.AudioResampler(format=sample_format, layout="stereo", rate=16_000).resample(planar)
    tolerance = 0.01 if sample_format.startswith("u8") else 1e-4
    assert np.abs(mono_of(frame) - (left + right) / 2).max() < tolerance


def test_damaged_sound_gives_what_decodes(shared_videos: Path, tmp_path: Path) -> None:
    """MP3 in an MP4 whose second half is zeros; the index, at its end, is whole."""
    content = bytearray((shared_videos / "clear" / "failing_audio_moviepy.mp4").read_bytes())
    start, end = boxes(bytes(content))["mdat"]
    middle = (start + end) // 2
    content[middle:end] = bytes(end - middle)
    path = tmp_path / "half.mp4"
    path.write_bytes(bytes(content))
    sound = clip_of(path, 1.0, 2.0, 22_050)
    assert (sound.damage, sound.covered_s) == (None, pytest.approx(1.0))
    partly = clip_of(path, 4.0, 5.0, 22_050)
    assert partly.damage is not None
    assert partly.damage.endswith("packets of sound could not be decoded")
    assert 0.5 < partly.covered_s < 1.0
    assert np.abs(partly.samples[: 22_050 // 2]).max() > 0
    assert clip_of(path, 9.0, 10.0, 22_050).covered_s == 0


def test_sound_of_which_nothing_decodes_is_an_error(tmp_path: Path) -> None:
    content = bytearray(write_sound(tmp_path / "plain.mp4", tone(6.0), codec="aac").read_bytes())
    start, end = boxes(bytes(content))["mdat"]
    rng = np.random.default_rng(0)
    content[start + 600 + (end - start) // 3 : end] = rng.bytes(end - start - 600 - (end - start) // 3)
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(content))
    info = audio_of(path)
    assert heard(path, info, 0, 16_000).damage is None
    with pytest.raises(MediaError, match=r"none of the \d+ packets of sound here could be decoded"):
        heard(path, info, 3 * 16_000, 16_000)
