"""Pini et al. (2017) against the numbers of its spec."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emolabel.models.pini2017 import (
    FULL,
    SUBMISSION_1,
    AudioBranch,
    AudioConfig,
    FaceBranch,
    FaceConfig,
    FusionConfig,
    FusionNetwork,
    MotionBranch,
    MotionConfig,
    Pini2017,
    Pini2017Config,
)
from emolabel.models.pini2017.fusion import Observed
from emolabel.sampling import AudioSampling, FrameSampling, SliceSampling
from emolabel.types import ClipInputs, CropSequence

MakeClip = Callable[..., ClipInputs]


def parameters(module: nn.Module, *, trainable: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


@pytest.fixture(scope="module")
def full() -> Pini2017:
    """The paper's network, as it is."""
    model = Pini2017(FULL)
    model.reset_parameters(0)
    return model.eval()


@pytest.fixture(scope="module")
def small(small_config: Pini2017Config) -> Pini2017:
    model = Pini2017(small_config)
    model.reset_parameters(0)
    return model.eval()


def test_parameter_counts_of_the_spec(full: Pini2017) -> None:
    trainable = {name: parameters(branch, trainable=True) for name, branch in full.branches.items()}
    assert trainable == {"face": 4_197_127, "motion": 592_647, "audio": 724_871}
    trunks = {name: parameters(branch.trunk) for name, branch in full.branches.items()}  # type: ignore[arg-type]
    assert trunks == {"face": 20_963_328, "motion": 27_655_936, "audio": 116_432}
    assert parameters(full.fusion) == parameters(full.fusion, trainable=True) == 583_319


def test_parameters_of_single_layers(full: Pini2017) -> None:
    face, motion = full.get_submodule("branches.face.head"), full.get_submodule("branches.motion.head")
    audio = full.get_submodule("branches.audio.head")
    assert [parameters(layer) for layer in face.children() if parameters(layer)] == [4_128_768, 512, 65_536, 512]
    assert [parameters(layer) for layer in motion.children() if parameters(layer)] == [524_288, 512, 65_536, 512]
    assert {name: parameters(layer) for name, layer in audio.named_children() if parameters(layer)} == {
        "conv": 262_144,
        "bn": 1_024,
        "lstm": 460_800,
    }
    assert [parameters(branch.classifier) for branch in full.branches.values()] == [1_799, 1_799, 903]  # type: ignore[arg-type]


def test_the_default_input_is_the_papers() -> None:
    spec = FULL.input_spec
    assert (spec.face, spec.motion, spec.audio) == (FrameSampling(48, 160), SliceSampling(32, 16, 112), AudioSampling())
    assert FULL.fusion.clusters == 8
    assert SUBMISSION_1.input_spec.motion is None


def test_feature_sizes_of_the_branches(full: Pini2017) -> None:
    face, motion, audio = full.branches.values()
    assert isinstance(face, FaceBranch)
    assert isinstance(motion, MotionBranch)
    assert isinstance(audio, AudioBranch)
    with torch.inference_mode():
        assert face.features(torch.zeros(2, 160, 160, 3, dtype=torch.uint8)).shape == (2, 256)
        assert motion.features(torch.zeros(1, 16, 112, 112, 3, dtype=torch.uint8)).shape == (1, 256)
        assert audio.features(torch.zeros(2, 22_050)).shape == (2, 128)
        assert audio(torch.zeros(2, 22_050)).shape == (2, 7)


def test_the_audio_feature_is_the_last_hidden_state(full: Pini2017) -> None:
    head = full.get_submodule("branches.audio.head")
    seen: list[Tensor] = []
    lstm = head.get_submodule("lstm")
    hook = lstm.register_forward_hook(lambda _m, inputs, out: seen.extend([inputs[0], out[0]]))
    with torch.inference_mode():
        feature = head(torch.rand(1, 128, 22))
    hook.remove()
    assert seen[0].shape == (1, 6, 512)
    torch.testing.assert_close(feature, seen[1][:, -1])


def test_each_distinct_crop_and_slice_goes_through_its_trunk_once(small: Pini2017) -> None:
    random = np.random.default_rng(0)
    faces = CropSequence(random.integers(0, 256, (5, 96, 96, 3), dtype=np.uint8), np.array([4, 1, 4], np.int32))
    frames = random.integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)
    slices = CropSequence(frames, np.zeros((2, 16), np.int32))
    passed: dict[str, int] = {"face": 0, "motion": 0}
    hooks = [
        small.get_submodule(f"branches.{name}.trunk").register_forward_hook(
            lambda _m, inputs, _o, name=name: passed.update({name: passed[name] + len(inputs[0])})
        )
        for name in passed
    ]
    (deduplicated,) = small.predict([ClipInputs(face=faces, motion=slices)])
    for hook in hooks:
        hook.remove()
    assert passed == {"face": 2, "motion": 1}
    repeated = CropSequence(faces.crops[faces.index], np.arange(3, dtype=np.int32))
    (plain,) = small.predict([ClipInputs(face=repeated, motion=slices)])
    np.testing.assert_allclose(deduplicated.probabilities, plain.probabilities, atol=2e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(deduplicated.face, plain.face, atol=2e-6)  # type: ignore[arg-type]


def test_scores_of_a_branch_are_the_mean_softmax_over_its_frames(small: Pini2017, make_clip: MakeClip) -> None:
    clip = make_clip(small.input_spec, n_crops=3)
    (prediction,) = small.predict([clip])
    assert clip.face is not None
    branch = small.branches["face"]
    with torch.inference_mode():
        expected = branch(torch.from_numpy(clip.face.crops[clip.face.index])).softmax(dim=1).mean(dim=0)
    np.testing.assert_allclose(prediction.face, expected, atol=2e-6)  # type: ignore[arg-type]


def test_a_missing_modality_is_a_slot_of_zeros(small: Pini2017, make_clip: MakeClip) -> None:
    sound = make_clip(small.input_spec, face=False, motion=False)
    (prediction,) = small.predict([sound])
    branch = small.branches["audio"]
    assert isinstance(branch, AudioBranch)
    assert sound.audio is not None
    with torch.inference_mode():
        feature = branch.features(torch.from_numpy(sound.audio)[None])
        joined = torch.cat([torch.zeros(1, 256), feature], dim=1)
        expected = small.fusion.classifier(small.fusion.dense(joined)).softmax(dim=1)[0]
    np.testing.assert_allclose(prediction.probabilities, expected, atol=2e-6)  # type: ignore[arg-type]


def test_more_crops_than_one_pass_holds(small: Pini2017, make_clip: MakeClip) -> None:
    spec = replace(small.config, face=replace(small.config.face, sampling=FrameSampling(count=70, crop_px=96)))
    model = Pini2017(replace(spec, motion=None))
    model.reset_parameters(0)
    model.eval()
    clip = make_clip(model.input_spec, n_crops=70)
    assert clip.face is not None
    backwards = replace(clip, face=CropSequence(clip.face.crops[::-1].copy(), 69 - clip.face.index))
    (one,), (other,) = model.predict([clip]), model.predict([backwards])
    np.testing.assert_allclose(one.face, other.face, atol=2e-6)  # type: ignore[arg-type]


def test_motion_can_stand_alone(make_clip: MakeClip) -> None:
    model = Pini2017(Pini2017Config(face=None, motion=MotionConfig(sampling=SliceSampling(count=2)), audio=None))
    model.reset_parameters(0)
    (prediction,) = model.eval().predict([make_clip(model.input_spec, n_crops=1)])
    assert prediction.probabilities is not None
    assert prediction.motion is not None
    assert prediction.face is prediction.audio is None


class TestFusion:
    def test_clips_without_a_modality_do_not_touch_its_statistics(self) -> None:
        fusion = FusionNetwork(FULL)
        features = torch.rand(3, 48, 256)

        def running_mean(n_clips: int) -> Tensor:
            torch.manual_seed(0)
            fresh = FusionNetwork(FULL)
            fresh.load_state_dict(fusion.state_dict())
            fresh.train()
            fresh({"face": Observed(features, torch.tensor([0, 1, 2]))}, n_clips)
            return fresh.get_buffer("slots.face.2.running_mean")

        assert torch.equal(running_mean(3), running_mean(8))

    def test_rows_find_their_clips(self) -> None:
        fusion = FusionNetwork(Pini2017Config(face=None, motion=None)).eval()
        sounds = torch.rand(2, 128)
        with torch.inference_mode():
            alone = fusion({"audio": Observed(sounds, torch.tensor([0, 1]))}, 2)
            spread = fusion({"audio": Observed(sounds, torch.tensor([3, 1]))}, 4)
            empty = fusion({}, 1)
        torch.testing.assert_close(spread[[3, 1]], alone)
        torch.testing.assert_close(spread[[0, 2]], empty.expand(2, 7))

    def test_submission_1_joins_two_slots(self) -> None:
        assert FusionNetwork(SUBMISSION_1).dense[0].weight.shape == (128, 256)


class TestFreezing:
    def test_train_leaves_trunks_in_eval_mode(self, small: Pini2017, make_clip: MakeClip) -> None:
        model = Pini2017(small.config)
        model.train()
        for branch in model.branches.values():
            trunk = branch.get_submodule("trunk")
            assert not any(module.training for module in trunk.modules())
            assert not any(parameter.requires_grad for parameter in trunk.parameters())
            assert branch.get_submodule("head").training
        before = {key: value.clone() for key, value in model.state_dict().items()}
        model(model.collate([make_clip(model.input_spec, seed, n_crops=1) for seed in (0, 1)]))
        changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert changed
        assert not any(".trunk." in key for key in changed)

    def test_phase_2_freezes_whole_branches(self, small: Pini2017) -> None:
        model = Pini2017(small.config)
        for branch in model.branches.values():
            assert isinstance(branch, (FaceBranch, MotionBranch, AudioBranch))
            branch.freeze()
        model.train()
        trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert trainable
        assert all(name.startswith("fusion.") for name in trainable)
        assert not model.branches["audio"].training

    def test_fine_tuning_a_trunk_is_possible(self) -> None:
        branch = AudioBranch(AudioConfig())
        branch.trunk.freeze(False)
        branch.train()
        branch(torch.rand(2, 22_050)).sum().backward()
        assert branch.get_parameter("trunk.conv1.weight").grad is not None


class TestInputs:
    def test_short_sound_is_padded_with_zeros(self, audio_model: Pini2017) -> None:
        sound = np.random.default_rng(0).uniform(-1, 1, 10_000).astype(np.float32)
        padded = np.concatenate([sound, np.zeros(12_050, np.float32)])
        short, full = audio_model.predict([ClipInputs(audio=sound), ClipInputs(audio=padded)])
        np.testing.assert_array_equal(short.audio, full.audio)  # type: ignore[arg-type]

    def test_a_sample_too_many_is_cut_and_a_second_too_many_refused(self, audio_model: Pini2017) -> None:
        sound = np.random.default_rng(0).uniform(-1, 1, 44_100).astype(np.float32)
        one, other = audio_model.predict([ClipInputs(audio=sound[:22_051]), ClipInputs(audio=sound[:22_050])])
        np.testing.assert_array_equal(one.audio, other.audio)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at most 22050 samples"):
            audio_model.predict([ClipInputs(audio=sound)])

    def test_sound_that_is_not_finite_is_refused(self, audio_model: Pini2017) -> None:
        with pytest.raises(ValueError, match="finite"):
            audio_model.predict([ClipInputs(audio=np.array([0, np.nan], np.float32))])

    def test_crops_that_do_not_fit_are_refused(self, small: Pini2017) -> None:
        crops = np.zeros((1, 96, 96, 3), np.uint8)
        with pytest.raises(ValueError, match=r"index of \(3,\), got \(4,\)"):
            small.predict([ClipInputs(face=CropSequence(crops, np.zeros(4, np.int32)))])
        with pytest.raises(ValueError, match="crops of 96 px, got 64"):
            small.predict([ClipInputs(face=CropSequence(crops[:, :64, :64], np.zeros(3, np.int32)))])

    def test_cudnn_computes_in_full_float32_while_predicting(self, audio_model: Pini2017) -> None:
        seen: list[tuple[bool, bool, bool]] = []
        flags = torch.backends.cudnn
        hook = audio_model.register_forward_pre_hook(
            lambda _m, _i: seen.append((flags.allow_tf32, flags.deterministic, flags.benchmark))
        )
        before = flags.allow_tf32, flags.deterministic, flags.benchmark
        audio_model.predict([ClipInputs(audio=np.zeros(22_050, np.float32))])
        hook.remove()
        assert seen == [(False, True, False)]
        assert (flags.allow_tf32, flags.deterministic, flags.benchmark) == before


class TestConfig:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: Pini2017Config(face=None, motion=None, audio=None), "at least one branch"),
            (lambda: MotionConfig(sampling=SliceSampling(length=8)), "slices of 16 crops of 112 px, got 8 of 112"),
            (lambda: FaceConfig(sampling=FrameSampling(crop_px=224)), "takes crops of 160 px, got 224"),
            (lambda: FaceConfig(backbone="resnet18"), "unknown face backbone"),
            (lambda: FaceConfig(keep=0), "keep must lie in"),
            (lambda: FusionConfig(clusters=10**9), "clusters must lie in 1-1024"),
            (lambda: AudioConfig(sampling=AudioSampling(seconds=10**6)), "n_samples must lie in"),
        ],
    )
    def test_nonsense_is_refused(self, build: Callable[[], object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            build()
