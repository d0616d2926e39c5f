"""Bundles on disk: what is written comes back, what is wrong is refused with a text that helps."""

import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from emolabel.errors import BundleError
from emolabel.labels import EMOTIONS
from emolabel.models.bundle import create_bundle, load_bundle, save_bundle
from emolabel.models.bundle_config import MAX_CONFIG_BYTES
from emolabel.models.describe import describe_bundle
from emolabel.models.pini2017 import Pini2017
from emolabel.models.shipped import shipped_bundle, shipped_names
from emolabel.models.weights import MAX_HEADER_BYTES, MAX_WEIGHTS_BYTES
from emolabel.types import ClipInputs

MakeClip = Callable[..., ClipInputs]


@pytest.fixture
def bundle(audio_model: Pini2017, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    save_bundle(
        audio_model,
        folder,
        name="voices",
        trained=dict.fromkeys(audio_model.parts(), True),
        provenance={"data": "synthetic", "seed": 1},
        metrics={"validation accuracy": 0.5},
        licence={"weights": "Apache-2.0"},
    )
    return folder


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    change(state)
    safetensors.torch.save_file(state, folder / "model.safetensors")


class TestBuiltIn:
    @pytest.mark.parametrize(("name", "has_motion"), [("untrained", False), ("untrained-full", True)])
    def test_labels_that_are_sound_but_mean_nothing(self, name: str, has_motion: bool, make_clip: MakeClip) -> None:
        bundle = load_bundle(name)
        assert bundle.name == name
        assert not bundle.trained
        spec = bundle.model.input_spec
        assert spec.face is not None
        assert spec.audio is not None
        assert (spec.motion is not None) == has_motion
        clips = [make_clip(spec, seed, n_crops=1) for seed in (0, 1)]
        predictions = bundle.model.predict(clips)
        for prediction in predictions:
            for scores in (prediction.probabilities, prediction.face, prediction.motion, prediction.audio):
                if scores is not None:
                    assert np.all(np.isfinite(scores))
                    assert scores.max() < 0.99, "random weights are saturated"
        assert not np.allclose(predictions[0].probabilities, predictions[1].probabilities, atol=1e-4)  # type: ignore[arg-type]

    def test_the_written_bundle_is_the_built_in_one(self, tmp_path: Path) -> None:
        built_in = load_bundle("untrained")
        created = create_bundle("untrained", tmp_path / "b")
        loaded = load_bundle(tmp_path / "b")
        assert built_in.sha256 == created.sha256 == loaded.sha256
        assert loaded.name == "untrained"
        state = loaded.model.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in built_in.model.state_dict().items())

    def test_another_seed_is_another_bundle(self, tmp_path: Path) -> None:
        one = create_bundle("untrained", tmp_path / "a", seed=1, name="start")
        assert one.sha256 != load_bundle("untrained").sha256
        assert load_bundle(tmp_path / "a").name == "untrained-start"

    def test_unknown_kinds_and_negative_seeds_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="unknown kind of bundle 'trained'; known are untrained, untrained-full"):
            create_bundle("trained", tmp_path / "b")
        with pytest.raises(BundleError, match="seed must not be negative"):
            create_bundle("untrained", tmp_path / "b", seed=-1)
        assert list(tmp_path.iterdir()) == []


class TestSaveAndLoad:
    def test_everything_comes_back(self, bundle: Path, audio_model: Pini2017) -> None:
        loaded = load_bundle(bundle)
        assert loaded.name == "voices"
        assert loaded.trained
        assert loaded.config.labels == EMOTIONS
        assert loaded.config.provenance == {"data": "synthetic", "seed": 1}
        assert loaded.config.metrics == {"validation accuracy": 0.5}
        assert loaded.config.licence == {"weights": "Apache-2.0"}
        assert loaded.model.config == audio_model.config
        assert {path.name for path in bundle.iterdir()} == {"config.json", "model.safetensors"}
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_the_hash_is_what_sha256sum_gives(self, bundle: Path) -> None:
        lines = "".join(
            f"{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}  {name}\n"
            for name in ("config.json", "model.safetensors")
        )
        assert load_bundle(bundle).sha256 == hashlib.sha256(lines.encode()).hexdigest()

    def test_the_hash_covers_both_files(self, bundle: Path) -> None:
        hashes = {load_bundle(bundle).sha256}
        edit_config(bundle, lambda config: config["metrics"].update(note="changed"))
        hashes.add(load_bundle(bundle).sha256)
        edit_weights(bundle, lambda state: state["fusion.classifier.bias"].add_(1))
        hashes.add(load_bundle(bundle).sha256)
        assert len(hashes) == 3

    def test_one_random_part_makes_it_untrained(self, bundle: Path) -> None:
        edit_config(bundle, lambda config: config["trained"].update({"audio.head": False}))
        loaded = load_bundle(bundle)
        assert not loaded.trained
        assert loaded.name == "untrained-voices"

    def test_a_folder_with_something_in_it_is_not_touched(self, bundle: Path, audio_model: Pini2017) -> None:
        before = {path.name: path.read_bytes() for path in bundle.iterdir()}
        with pytest.raises(BundleError, match="exists already"):
            save_bundle(audio_model, bundle, name="x", trained=dict.fromkeys(audio_model.parts(), True))
        assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before

    def test_an_empty_folder_is_taken(self, audio_model: Pini2017, tmp_path: Path) -> None:
        save_bundle(audio_model, tmp_path, name="x", trained=dict.fromkeys(audio_model.parts(), True))
        assert load_bundle(tmp_path).name == "x"

    def test_a_folder_that_cannot_be_made(self, audio_model: Pini2017, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(BundleError, match="cannot be written"):
            save_bundle(
                audio_model, tmp_path / "file" / "b", name="x", trained=dict.fromkeys(audio_model.parts(), True)
            )

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"name": "../x"}, "a name has 1-100 letters"),
            ({"trained": {"fusion": True}}, "'trained' must say it of audio.trunk, audio.head"),
            ({"metrics": {"loss": float("nan")}}, "cannot save"),
            ({"metrics": {"loss": object()}}, "cannot save"),
            ({"metrics": {"notes": "x" * MAX_CONFIG_BYTES}}, "bytes are too many for a config"),
        ],
    )
    def test_values_that_cannot_be_saved(
        self, audio_model: Pini2017, tmp_path: Path, changes: dict[str, Any], message: str
    ) -> None:
        arguments = {"name": "x", "trained": dict.fromkeys(audio_model.parts(), True), **changes}
        with pytest.raises(BundleError, match=message):
            save_bundle(audio_model, tmp_path / "b", **arguments)
        assert list(tmp_path.iterdir()) == []

    def test_weights_that_are_not_finite_are_not_saved(self, tmp_path: Path, audio_model: Pini2017) -> None:
        broken = Pini2017(audio_model.config)
        broken.reset_parameters(0)
        with torch.no_grad():
            broken.fusion.classifier.bias[2] = torch.nan
        with pytest.raises(BundleError, match=r"not finite: fusion\.classifier\.bias"):
            save_bundle(broken, tmp_path / "b", name="x", trained=dict.fromkeys(broken.parts(), True))

    def test_a_device_that_is_not_there(self, bundle: Path) -> None:
        with pytest.raises(BundleError, match="does not go on device 'cuda:99'"):
            load_bundle(bundle, "cuda:99")


class TestHalfPrecision:
    @pytest.fixture
    def half(self, audio_model: Pini2017, tmp_path: Path) -> Path:
        save_bundle(
            audio_model, tmp_path / "half", name="voices", trained=dict.fromkeys(audio_model.parts(), True), half=True
        )
        return tmp_path / "half"

    def test_parameters_are_rounded_and_nothing_else(self, half: Path, audio_model: Pini2017) -> None:
        stored = safetensors.torch.load_file(half / "model.safetensors")
        loaded = load_bundle(half).model.state_dict()
        parameters = {name for name, _ in audio_model.named_parameters()}
        assert 0 < len(parameters) < len(stored)
        for key, value in audio_model.state_dict().items():
            assert stored[key].dtype == (torch.float16 if key in parameters else value.dtype), key
            assert loaded[key].dtype == value.dtype, key
            assert torch.equal(loaded[key], value.half().float() if key in parameters else value), key

    def test_the_file_is_half_the_size(self, half: Path, bundle: Path) -> None:
        sizes = [(folder / "model.safetensors").stat().st_size for folder in (half, bundle)]
        assert sizes[0] < 0.51 * sizes[1]

    def test_labels_hardly_change(self, half: Path, audio_model: Pini2017, make_clip: MakeClip) -> None:
        clips = [make_clip(audio_model.input_spec, seed) for seed in range(3)]
        for one, other in zip(load_bundle(half).model.predict(clips), audio_model.predict(clips), strict=True):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=2e-3)  # type: ignore[arg-type]

    def test_what_is_returned_is_what_will_be_loaded(self, audio_model: Pini2017, tmp_path: Path) -> None:
        before = {key: value.clone() for key, value in audio_model.state_dict().items()}
        trained = dict.fromkeys(audio_model.parts(), True)
        saved = save_bundle(audio_model, tmp_path / "b", name="voices", trained=trained, half=True)
        loaded = load_bundle(tmp_path / "b")
        assert saved.sha256 == loaded.sha256
        state = loaded.model.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in saved.model.state_dict().items())
        assert all(torch.equal(value, before[key]) for key, value in audio_model.state_dict().items())
        again = save_bundle(loaded.model, tmp_path / "c", name="voices", trained=trained, half=True)
        assert again.sha256 == loaded.sha256

    @pytest.mark.parametrize(
        ("declared", "found"), [("float32", r"torch\.float16, expected torch\.float32"), ("float16", "")]
    )
    def test_the_declared_type_is_the_only_one(self, half: Path, bundle: Path, declared: str, found: str) -> None:
        """Each file of weights under the other one's declaration."""
        folder = half if declared == "float32" else bundle
        edit_config(folder, lambda config: config.update(weights_dtype=declared))
        with pytest.raises(BundleError, match=f"wrong types: .*{found}"):
            load_bundle(folder)

    def test_buffers_must_keep_their_type(self, half: Path) -> None:
        key = "branches.audio.head.bn.running_var"
        edit_weights(half, lambda state: state.update({key: state[key].half()}))
        with pytest.raises(BundleError, match=r"running_var is torch\.float16, expected torch\.float32"):
            load_bundle(half)

    def test_unknown_types_are_refused(self, half: Path) -> None:
        edit_config(half, lambda config: config.update(weights_dtype="int8"))
        with pytest.raises(BundleError, match=r"weights_dtype: expected one of 'float32', 'float16', got 'int8'"):
            load_bundle(half)

    def test_values_beyond_half_precision_are_not_saved(self, audio_model: Pini2017, tmp_path: Path) -> None:
        big = Pini2017(audio_model.config)
        big.reset_parameters(0)
        trained = dict.fromkeys(big.parts(), True)
        big.get_buffer("branches.audio.head.bn.running_var").fill_(1e6)
        save_bundle(big, tmp_path / "a", name="x", trained=trained, half=True)
        assert load_bundle(tmp_path / "a").model.get_buffer("branches.audio.head.bn.running_var").max() == 1e6
        with torch.no_grad():
            big.get_parameter("fusion.classifier.bias")[2] = 70_000
        with pytest.raises(BundleError, match=r"too big for half precision: fusion\.classifier\.bias"):
            save_bundle(big, tmp_path / "b", name="x", trained=trained, half=True)
        save_bundle(big, tmp_path / "b", name="x", trained=trained)


class TestShipped:
    @pytest.fixture
    def shipped(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("emolabel.models.shipped.SHIPPED", bundle.parent)
        return bundle

    def test_found_by_name_from_anywhere(self, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        assert load_bundle("bundle").sha256 == load_bundle(shipped).sha256
        assert load_bundle("bundle").name == "voices"

    def test_wins_over_a_folder_of_that_name(
        self, shipped: Path, audio_model: Pini2017, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cwd").mkdir()
        monkeypatch.chdir(tmp_path / "cwd")
        save_bundle(audio_model, "bundle", name="mine", trained=dict.fromkeys(audio_model.parts(), True))
        assert load_bundle("bundle").name == "voices"
        assert load_bundle("./bundle").name == "mine"

    def test_is_named_where_nothing_is_found(self, shipped: Path) -> None:
        with pytest.raises(BundleError, match=r"no built-in one \(bundle, untrained, untrained-full\)"):
            load_bundle("bundel")

    @pytest.mark.parametrize("name", ["", ".", "..", "../x/bundle", "bundle/.", "*"])
    def test_only_plain_names_are_looked_up(self, shipped: Path, name: str) -> None:
        assert shipped_bundle("bundle") == shipped
        assert shipped_bundle(name) is None

    def test_all_that_ship_can_be_loaded(self) -> None:
        for name in shipped_names():
            assert load_bundle(name).name == name


class TestBadConfigs:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c.pop("format_version"), "not a bundle of emolabel: 'format_version' is missing"),
            (lambda c: c.update(format_version=2), "format 2, this emolabel reads up to 1; update emolabel"),
            (lambda c: c.update(format_version="1"), "must be a positive integer"),
            (lambda c: c.update(architecture="bert"), "unknown architecture 'bert'; known are pini2017"),
            (lambda c: c.update(extra=1), "unknown key 'extra'"),
            (lambda c: c.pop("trained"), "'trained' is missing"),
            (lambda c: c["trained"].pop("fusion"), "'trained' must say it of"),
            (lambda c: c.update(labels=[*EMOTIONS[1:], EMOTIONS[0]]), "labels must be angry, disgust.* in this order"),
            (lambda c: c.update(name="a\nb"), "a name has 1-100 letters"),
            (lambda c: c["config"]["audio"].update(gian=1), r"config\.audio: unknown key 'gian'"),
            (lambda c: c["config"]["audio"].update(padding="valid"), r"config\.audio\.padding: expected one of 'same'"),
            (lambda c: c["config"]["fusion"].update(clusters=10**9), "clusters must lie in 1-1024"),
            (lambda c: c["config"].update(audio=None), "at least one branch"),
        ],
    )
    def test_are_refused_with_a_reason(
        self, bundle: Path, change: Callable[[dict[str, Any]], object], message: str
    ) -> None:
        edit_config(bundle, change)
        with pytest.raises(BundleError, match=message):
            load_bundle(bundle)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"{", "not valid JSON"),
            (b"\xff\xfe", "not valid JSON"),
            (b"[" * 200_000, "not valid JSON"),
            (b'{"format_version": NaN}', "NaN is no JSON number"),
            (b"[1]", "not a bundle of emolabel"),
            (b" " * (MAX_CONFIG_BYTES + 1), "too many for a config"),
        ],
        ids=["cut", "not-utf8", "deep", "nan", "list", "huge"],
    )
    def test_files_that_are_no_config(self, bundle: Path, content: bytes, message: str) -> None:
        (bundle / "config.json").write_bytes(content)
        with pytest.raises(BundleError, match=message):
            load_bundle(bundle)

    def test_a_pipe_does_not_hang(self, bundle: Path) -> None:
        (bundle / "config.json").unlink()
        os.mkfifo(bundle / "config.json")
        with pytest.raises(BundleError, match="no such file"):
            load_bundle(bundle)


class TestBadWeights:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.pop("fusion.classifier.bias"), r"1 missing: fusion\.classifier\.bias"),
            (lambda s: s.update(extra=torch.zeros(1)), "1 unexpected: extra"),
            (
                lambda s: s.update({"fusion.classifier.bias": torch.zeros(8)}),
                r"1 of wrong shape: fusion\.classifier\.bias is 8, expected 7",
            ),
            (
                lambda s: s.update({"fusion.classifier.bias": torch.zeros(7, dtype=torch.float16)}),
                r"wrong types: fusion\.classifier\.bias is torch\.float16, expected torch\.float32",
            ),
            (lambda s: s["fusion.classifier.bias"].fill_(torch.inf), r"not finite: fusion\.classifier\.bias"),
            (lambda s: s.clear(), r"\d+ missing: branches\.audio\.[^,]+, [^,]+, [^,]+ and \d+ more"),
        ],
    )
    def test_tensors_that_do_not_fit(
        self, bundle: Path, change: Callable[[dict[str, Tensor]], object], message: str
    ) -> None:
        edit_weights(bundle, change)
        with pytest.raises(BundleError, match=message):
            load_bundle(bundle)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "not a safetensors file, or cut short"),
            (b"abc", "not a safetensors file, or cut short"),
            (struct.pack("<Q", 2**40) + b"{}", "not a safetensors file, or cut short"),
            (struct.pack("<Q", 5) + b"hello", "damaged safetensors file"),
        ],
        ids=["empty", "short", "absurd-header", "no-json"],
    )
    def test_files_that_are_no_safetensors(self, bundle: Path, content: bytes, message: str) -> None:
        (bundle / "model.safetensors").write_bytes(content)
        with pytest.raises(BundleError, match=message):
            load_bundle(bundle)

    def test_a_file_cut_short(self, bundle: Path) -> None:
        weights = bundle / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(BundleError, match="damaged safetensors file"):
            load_bundle(bundle)

    def test_a_header_bomb(self, bundle: Path) -> None:
        with (bundle / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
            file.truncate(MAX_HEADER_BYTES + 100)  # sparse: takes no room
        with pytest.raises(BundleError, match="a header of 16,777,217 bytes is too big"):
            load_bundle(bundle)

    def test_a_file_of_absurd_size(self, bundle: Path) -> None:
        with (bundle / "model.safetensors").open("wb") as file:
            file.truncate(MAX_WEIGHTS_BYTES + 1)
        with pytest.raises(BundleError, match="bytes are too many"):
            load_bundle(bundle)

    def test_no_weights_at_all(self, bundle: Path) -> None:
        (bundle / "model.safetensors").unlink()
        with pytest.raises(BundleError, match=r"model\.safetensors: no such file"):
            load_bundle(bundle)


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


class TestPickles:
    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "weights.pkl"])
    def test_are_never_opened(self, bundle: Path, tmp_path: Path, name: str) -> None:
        mark = tmp_path / "mark"
        (bundle / "model.safetensors").unlink()
        (bundle / name).write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises(BundleError, match=f"{name} is not opened: a pickle can run any code"):
            load_bundle(bundle)
        with pytest.raises(BundleError, match=r"is a file: a bundle is a folder.*emolabel bundle import"):
            load_bundle(bundle / name)
        assert not mark.exists()
        pickle.loads((bundle / name).read_bytes())
        assert mark.exists(), "the bomb is a dud"


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(BundleError, match=r"no built-in one \(.*untrained, untrained-full\), no folder, no hub id"):
        load_bundle("./no/such/folder")


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        load_bundle("a" * 5000)


def test_the_home_of_nobody() -> None:
    with pytest.raises(BundleError, match="no folder, no hub id"):
        load_bundle("~nobody-has-this-name/x/y")


def test_description(bundle: Path) -> None:
    text = describe_bundle(load_bundle(bundle))
    for part in (
        "voices",
        load_bundle(bundle).sha256,
        "pini2017",
        "Trained       yes",
        "angry, disgust, fear",
        "116,432 parameters, trained",
        "sample_rate_hz: 22050",
        "padding: same",
        "data: synthetic",
        "validation accuracy: 0.5",
        "weights: Apache-2.0",
    ):
        assert part in text
    assert "NO: its labels mean nothing. Random weights in all parts" in describe_bundle(load_bundle("untrained"))
