"""Ensembles: the vote by hand, bundles of bundles, and what cannot be one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from emolabel.errors import BundleError
from emolabel.models.bundle import load_bundle, save_bundle
from emolabel.models.describe import describe_bundle
from emolabel.models.ensemble import Ensemble, EnsembleConfig, average
from emolabel.models.ensemble.bundle import make_ensemble
from emolabel.models.packing import pack_bundle, unpack_model
from emolabel.models.pini2017 import AudioConfig, Pini2017, Pini2017Config
from emolabel.models.strict import to_plain
from emolabel.sampling import AudioSampling
from emolabel.types import ClipInputs, Float32Array, Prediction

MakeClip = Callable[..., ClipInputs]

CONFIG = Pini2017Config(
    face=None, motion=None, audio=AudioConfig(sampling=AudioSampling(16_000, 0.5), gain=1.0, trunk="log_mel")
)


def member(seed: int, config: Pini2017Config = CONFIG) -> Pini2017:
    model = Pini2017(config)
    model.reset_parameters(seed)
    return model.eval()


def scores(**shares: float) -> Float32Array:
    order = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    return np.array([shares.get(emotion, 0) for emotion in order], np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, model: Pini2017, **more: Any) -> Path:
        save_bundle(model, tmp_path / name, name=name, trained=dict.fromkeys(model.parts(), True), **more)
        return tmp_path / name

    return write


class TestVote:
    def test_mean_and_agreement_by_hand(self) -> None:
        votes = [
            Prediction(scores(angry=0.6, happy=0.4), audio=scores(sad=1.0), valence=0.5),
            Prediction(scores(angry=0.5, happy=0.3, sad=0.2), audio=scores(sad=0.5, fear=0.5), valence=-0.1),
            Prediction(scores(happy=0.7, neutral=0.3), audio=scores(fear=1.0), valence=0.2),
        ]
        out = average(votes)
        np.testing.assert_allclose(
            out.probabilities,  # type: ignore[arg-type]
            scores(angry=1.1 / 3, happy=1.4 / 3, sad=0.2 / 3, neutral=0.1),
            atol=1e-6,
        )
        np.testing.assert_allclose(out.audio, scores(sad=0.5, fear=0.5), atol=1e-6)  # type: ignore[arg-type]
        assert out.agreement == pytest.approx(1 / 3)  # happy, which only the third says
        assert out.valence == pytest.approx(0.2)
        assert out.face is out.motion is out.arousal is None

    def test_all_split_and_the_second_wins(self) -> None:
        votes = [Prediction(scores(neutral=0.45, **{name: 0.55})) for name in ("angry", "sad", "fear")]
        out = average(votes)
        assert out.probabilities is not None
        assert out.probabilities.argmax() == 6
        assert out.agreement == 0

    def test_nothing_to_vote_on(self) -> None:
        out = average([Prediction(), Prediction()])
        assert out.probabilities is out.agreement is None

    @given(
        st.lists(st.lists(st.floats(0.0625, 1), min_size=7, max_size=7), min_size=1, max_size=6),
        st.randoms(use_true_random=False),
    )
    def test_order_does_not_matter_and_the_sum_stays(self, rows: list[list[float]], random: Any) -> None:
        votes = [Prediction((np.array(row) / sum(row)).astype(np.float32)) for row in rows]
        out = average(votes)
        assert out.probabilities is not None
        assert out.probabilities.sum() == pytest.approx(1, abs=1e-6)
        assert out.agreement is not None
        assert 0 <= out.agreement <= 1
        random.shuffle(votes)
        other = average(votes)
        np.testing.assert_allclose(other.probabilities, out.probabilities, atol=1e-7)  # type: ignore[arg-type]


class TestModel:
    @pytest.mark.parametrize("size", [2, 3, 5])
    def test_of_equal_members_is_the_member(self, size: int, make_clip: MakeClip) -> None:
        alone, together = member(0), Ensemble([member(0) for _ in range(size)]).eval()
        clips = [make_clip(alone.input_spec, seed) for seed in (0, 1)]
        for one, other in zip(alone.predict(clips), together.predict(clips), strict=True):
            np.testing.assert_array_equal(one.probabilities, other.probabilities)  # type: ignore[arg-type]
            np.testing.assert_array_equal(one.audio, other.audio)  # type: ignore[arg-type]
            assert other.agreement == 1

    def test_is_the_vote_of_its_members(self, make_clip: MakeClip) -> None:
        members = [member(seed) for seed in (1, 2, 3)]
        clips = [make_clip(members[0].input_spec, seed) for seed in range(4)]
        expected = [average(votes) for votes in zip(*[each.predict(clips) for each in members], strict=True)]
        for one, other in zip(Ensemble(members).eval().predict(clips), expected, strict=True):
            np.testing.assert_array_equal(one.probabilities, other.probabilities)  # type: ignore[arg-type]
            assert one.agreement == other.agreement

    def test_clips_are_collated_once(self, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        collate = Pini2017.collate

        def counted(self: Pini2017, clips: Any) -> Any:
            calls.append(len(clips))
            return collate(self, clips)

        monkeypatch.setattr(Pini2017, "collate", counted)
        ensemble = Ensemble([member(1), member(2)]).eval()
        ensemble.predict([make_clip(ensemble.input_spec)])
        assert calls == [1]

    def test_members_must_be_alike_and_several(self) -> None:
        assert CONFIG.audio is not None
        other = replace(CONFIG, audio=replace(CONFIG.audio, keep=0.7))
        with pytest.raises(ValueError, match="member 1 has another architecture or config than member 0"):
            Ensemble([member(0), member(0, other)])
        with pytest.raises(ValueError, match="2-32 members, got 1"):
            Ensemble([member(0)])
        with pytest.raises(ValueError, match="no ensembles as members"):
            Ensemble([Ensemble([member(0), member(1)]), Ensemble([member(0), member(1)])])


class TestBundle:
    def test_holds_what_its_members_held(self, save: Callable[..., Path], make_clip: MakeClip, tmp_path: Path) -> None:
        folders = [
            save(f"fold-{seed}", member(seed), metrics={"accuracy": seed / 4}, licence={"weights": "NC"})
            for seed in (0, 1, 2)
        ]
        saved = make_ensemble(folders, tmp_path / "all", name="five-folds", metrics={"accuracy": 0.6})
        loaded = load_bundle(tmp_path / "all")
        assert loaded.sha256 == saved.sha256
        assert loaded.name == "five-folds"
        assert loaded.model.config == EnsembleConfig("pini2017", to_plain(CONFIG), 3)
        members = [load_bundle(folder) for folder in folders]
        origins = loaded.config.provenance["members"]
        assert [origin["sha256"] for origin in origins] == [each.sha256 for each in members]
        assert [origin["metrics"]["accuracy"] for origin in origins] == [0, 0.25, 0.5]
        assert loaded.config.licence == {"weights": "NC"}
        state = safetensors.torch.load_file(tmp_path / "all" / "model.safetensors")
        for i, each in enumerate(members):
            for key, value in each.model.state_dict().items():
                assert torch.equal(state[f"members.{i}.{key}"], value)
        clip = make_clip(loaded.model.input_spec)
        expected = average([each.model.predict([clip])[0] for each in members])
        (prediction,) = loaded.model.predict([clip])
        np.testing.assert_array_equal(prediction.probabilities, expected.probabilities)  # type: ignore[arg-type]
        assert prediction.agreement == expected.agreement

    def test_a_worker_gets_the_same(self, save: Callable[..., Path], make_clip: MakeClip, tmp_path: Path) -> None:
        bundle = make_ensemble([save("a", member(0)), save("b", member(1))], tmp_path / "all", name="two")
        model = unpack_model(pack_bundle(bundle), "cpu")
        clip = make_clip(model.input_spec)
        (one,), (other,) = model.predict([clip]), bundle.model.predict([clip])
        # Its weights lie otherwise in memory, and are summed up in another order.
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6, rtol=0)  # type: ignore[arg-type]

    def test_half_precision_stays_where_all_members_have_it(self, save: Callable[..., Path], tmp_path: Path) -> None:
        halves = [save("a", member(0), half=True), save("b", member(1), half=True)]
        both = make_ensemble(halves, tmp_path / "both", name="halves")
        assert both.config.weights_dtype == "float16"
        mixed = make_ensemble([halves[0], save("c", member(2))], tmp_path / "mixed", name="mixed")
        assert mixed.config.weights_dtype == "float32"
        assert load_bundle(tmp_path / "mixed").sha256 == mixed.sha256

    def test_one_random_part_of_one_member_makes_it_untrained(self, save: Callable[..., Path], tmp_path: Path) -> None:
        start = member(1)
        save_bundle(start, tmp_path / "start", name="start", trained={part: part != "fusion" for part in start.parts()})
        bundle = make_ensemble([save("a", member(0)), tmp_path / "start"], tmp_path / "all", name="two")
        assert not bundle.trained
        assert bundle.name == "untrained-two"

    def test_licences_that_differ_stand_side_by_side(self, save: Callable[..., Path], tmp_path: Path) -> None:
        folders = [save("a", member(0), licence={"data": "A"}), save("b", member(1), licence={"data": "B"})]
        bundle = make_ensemble(folders, tmp_path / "all", name="two")
        assert bundle.config.licence == {"members": [{"data": "A"}, {"data": "B"}]}

    def test_description(self, save: Callable[..., Path], tmp_path: Path) -> None:
        bundle = make_ensemble([save("a", member(0)), save("b", member(1))], tmp_path / "all", name="two")
        text = describe_bundle(bundle)
        for origin in bundle.config.provenance["members"]:
            assert f"sha256: {origin['sha256']}" in text
        for part in ("Architecture  ensemble", "members.1.audio.head", "size: 2", "trunk: log_mel"):
            assert part in text

    def test_members_that_do_not_fit_are_refused(self, save: Callable[..., Path], tmp_path: Path) -> None:
        assert CONFIG.audio is not None
        first = save("a", member(0))
        other = save("b", member(1, replace(CONFIG, audio=replace(CONFIG.audio, keep=0.7))))
        pair = tmp_path / "pair"
        make_ensemble([first, save("c", member(2))], pair, name="pair")
        for members, message in (
            ([first, other], r"b has another config than .*a \(audio\.keep: 0\.7 instead of 0\.5\)"),
            ([first, pair], r"pair is of the architecture ensemble, .*a of pini2017"),
            ([pair, pair], "the same bundle as .*pair: it would vote twice"),
            ([first], "2-32 members, got 1"),
            ([], "give at least two bundles"),
            ([first, tmp_path / "none"], "none"),
        ):
            with pytest.raises(BundleError, match=message):
                make_ensemble(members, tmp_path / "out", name="x")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"size": 3}, r"\d+ missing: members\.2\.branches"),
            ({"size": 1}, "2-32 members, got 1"),
            ({"size": 10**9}, "2-32 members"),
            ({"architecture": "ensemble"}, "no ensembles as members"),
            ({"architecture": "bert"}, "unknown architecture 'bert'"),
            ({"config": {"audio": None, "face": None, "motion": None}}, "at least one branch"),
        ],
    )
    def test_bad_configs(self, save: Callable[..., Path], tmp_path: Path, change: dict[str, Any], message: str) -> None:
        make_ensemble([save("a", member(0)), save("b", member(1))], tmp_path / "all", name="two")
        path = tmp_path / "all" / "config.json"
        config = json.loads(path.read_text())
        config["config"].update(change)
        if change == {"size": 3}:
            config["trained"].update({f"members.2.{part}": True for part in member(0).parts()})
        path.write_text(json.dumps(config))
        with pytest.raises(BundleError, match=message):
            load_bundle(tmp_path / "all")
