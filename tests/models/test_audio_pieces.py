"""Sound in pieces: how it is cut, and that a clip's scores are the mean over its own pieces."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emolabel.models.collate import collate_audio, cut
from emolabel.models.pini2017 import AudioBranch, AudioConfig, Pini2017, Pini2017Config
from emolabel.sampling import AudioSampling
from emolabel.types import ClipInputs, Float32Array

RATE = 16_000
CONFIG = Pini2017Config(
    face=None,
    motion=None,
    audio=AudioConfig(sampling=AudioSampling(RATE, 2.0), gain=1.0, trunk="log_mel", piece_s=0.5),
)
CPU = torch.device("cpu")


def noise(seconds: float, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def ramp(n: int) -> Float32Array:
    return np.arange(1, n + 1, dtype=np.float32)


@pytest.fixture(scope="module")
def model() -> Pini2017:
    model = Pini2017(CONFIG)
    model.reset_parameters(0)
    return model.eval()


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 400), length=st.integers(10, 100), zeros=st.integers(0, 50))
def test_pieces_cover_the_sound_and_nothing_else(n: int, length: int, zeros: int) -> None:
    pieces = cut(ramp(n), length)
    assert pieces.shape == (-(-n // length), length)
    assert set(pieces.flatten()) - {0} == set(ramp(n))
    assert pieces[0, 0] == 1
    assert pieces.max(axis=1)[-1] == n
    if n >= length:
        assert pieces[-1, -1] == n
        assert np.all(np.diff(pieces, axis=1) == 1)
    np.testing.assert_array_equal(cut(np.pad(ramp(n), (0, zeros)), length), pieces)


@given(n=st.integers(0, 50))
def test_a_few_samples_more_make_no_further_piece(n: int) -> None:
    pieces = cut(ramp(200 + n), 100, slack=50)
    assert pieces.shape == (2, 100)
    assert (pieces[0, 0], pieces[1, -1]) == (1, 200 + n)
    assert len(cut(ramp(251), 100, slack=50)) == 3


def test_digital_silence_is_no_piece_unless_there_is_nothing_else() -> None:
    late = np.concatenate([np.zeros(200, np.float32), ramp(100)])
    np.testing.assert_array_equal(cut(late, 100), [ramp(100)])
    np.testing.assert_array_equal(cut(np.zeros(300, np.float32), 100), np.zeros((1, 100)))


def test_clips_of_different_length_in_one_batch() -> None:
    batch = collate_audio([ramp(1_250), None, ramp(300), ramp(2_000)], AudioSampling(1_000, 2.0), CPU, 500)
    assert batch is not None
    assert batch.rows.tolist() == [0, 2, 3]
    assert batch.samples[:, 0].tolist() == [1, 501, 751, 1, 1, 501, 1001, 1501]
    assert batch.present.tolist() == [[True] * 3 + [False], [True] + [False] * 3, [True] * 4]
    assert batch.places[batch.present].tolist() == list(range(8))


def test_without_pieces_each_clip_is_one() -> None:
    batch = collate_audio([ramp(1_250), None, ramp(2_000)], AudioSampling(1_000, 2.0), CPU)
    assert batch is not None
    np.testing.assert_array_equal(batch.samples[0], np.pad(ramp(1_250), (0, 750)))
    np.testing.assert_array_equal(batch.samples[1], ramp(2_000))
    assert (batch.places.tolist(), batch.present.tolist()) == ([[0], [1]], [[True], [True]])


def test_scores_and_features_are_means_over_a_clips_own_pieces(model: Pini2017) -> None:
    short, long = noise(0.7, 1), noise(2.0, 2)
    one, other = model.predict([ClipInputs(audio=short), ClipInputs(audio=long)])
    branch = model.branches["audio"]
    assert isinstance(branch, AudioBranch)
    assert model.fusion is not None
    by_hand = {
        0: torch.from_numpy(np.stack([short[:8_000], short[-8_000:]])),
        1: torch.from_numpy(long.reshape(4, 8_000)),
    }
    for prediction, pieces in ((one, by_hand[0]), (other, by_hand[1])):
        with torch.inference_mode():
            scores = branch(pieces).softmax(dim=1).mean(dim=0)
            feature = branch.features(pieces).mean(dim=0, keepdim=True)
            fused = model.fusion.classifier(model.fusion.dense(feature)).softmax(dim=1)[0]
        np.testing.assert_allclose(prediction.audio, scores, atol=1e-6)  # type: ignore[arg-type]
        np.testing.assert_allclose(prediction.probabilities, fused, atol=1e-6)  # type: ignore[arg-type]


def test_zeros_behind_a_clip_change_nothing(model: Pini2017) -> None:
    sound = noise(0.7)
    short, padded = model.predict([ClipInputs(audio=sound), ClipInputs(audio=np.pad(sound, (0, 20_000)))])
    np.testing.assert_allclose(short.probabilities, padded.probabilities, atol=1e-6)  # type: ignore[arg-type]


def test_more_pieces_than_one_pass_holds(model: Pini2017) -> None:
    clips = [ClipInputs(audio=noise(2.0, seed)) for seed in range(20)]
    together = model.predict(clips)
    for i in (0, 15, 16, 19):
        (alone,) = model.predict([clips[i]])
        np.testing.assert_allclose(together[i].audio, alone.audio, atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("trunk", ["soundnet", "log_mel"])
def test_one_piece_of_everything_is_no_pieces(trunk: str, make_clip: Callable[..., ClipInputs]) -> None:
    audio = AudioConfig(sampling=AudioSampling(RATE, 1.0), trunk=trunk)  # type: ignore[arg-type]
    whole = Pini2017(Pini2017Config(face=None, motion=None, audio=audio))
    pieces = Pini2017(Pini2017Config(face=None, motion=None, audio=replace(audio, piece_s=1.0)))
    whole.reset_parameters(0)
    pieces.load_state_dict(whole.state_dict())
    clips = [make_clip(whole.input_spec, 1), ClipInputs(audio=noise(0.3))]
    for one, other in zip(whole.eval().predict(clips), pieces.eval().predict(clips), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)  # type: ignore[arg-type]
        np.testing.assert_array_equal(one.audio, other.audio)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("piece_s", "message"),
    [(0.0, "piece_s must lie in 0.1-2"), (2.5, "piece_s must lie in 0.1-2"), (-1.0, "piece_s must lie in")],
)
def test_pieces_that_make_no_sense(piece_s: float, message: str) -> None:
    assert CONFIG.audio is not None
    with pytest.raises(ValueError, match=message):
        replace(CONFIG.audio, piece_s=piece_s)
