import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import emolabel
from emolabel.models import layout
from emolabel.models.base import EmotionModel
from emolabel.models.bundle import load_bundle
from emolabel.models.layout import has_bfloat16, make_quick
from emolabel.models.pini2017 import AudioConfig, FaceConfig, MotionConfig, Pini2017, Pini2017Config
from emolabel.types import Prediction
from tests.models.conftest import MakeClip

in_bfloat16 = pytest.mark.skipif(not has_bfloat16("cpu"), reason="this processor has no bfloat16")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def norms_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, NORMS)]


@torch.no_grad()
def worn(model: EmotionModel) -> EmotionModel:
    """Batch normalisation as after training: with fresh statistics it would do next to nothing."""
    torch.manual_seed(5)
    for norm in norms_of(model):
        assert isinstance(norm, NORMS)
        for values, low, high in ((norm.running_mean, -0.3, 0.3), (norm.running_var, 0.5, 2.0)):
            assert values is not None
            values.uniform_(low, high)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.3, 0.3)
    return model.eval()


def values_of(prediction: Prediction) -> Tensor:
    parts = (prediction.probabilities, prediction.face, prediction.audio)
    return torch.cat([torch.from_numpy(part) for part in parts if part is not None])


@pytest.fixture(params=["paper", "default"])
def model(request: pytest.FixtureRequest) -> EmotionModel:
    """Inception-ResNet-v1 and SoundNet, or the small networks of the default bundle."""
    if request.param == "default":
        return worn(load_bundle("emolabel-1").model)
    torch.manual_seed(1)
    return worn(Pini2017(Pini2017Config(face=FaceConfig(), audio=AudioConfig())))


def test_a_model_made_quick_says_the_same(model: EmotionModel, make_clip: MakeClip) -> None:
    quick = copy.deepcopy(model)
    make_quick(quick)
    assert len(norms_of(model)) - len(norms_of(quick)) >= 12
    clips = [make_clip(model.input_spec, seed) for seed in range(3)]
    for before, after in zip(model.predict(clips), quick.predict(clips), strict=True):
        assert (values_of(before) - values_of(after)).abs().max() < 1e-5


@in_bfloat16
def test_in_bfloat16_pictures_say_nearly_the_same_and_sound_the_same(model: EmotionModel, make_clip: MakeClip) -> None:
    exact, quick = copy.deepcopy(model), copy.deepcopy(model)
    make_quick(exact)
    make_quick(quick, "bfloat16")
    clips = [make_clip(model.input_spec, seed) for seed in range(3)]
    for before, after in zip(exact.predict(clips), quick.predict(clips), strict=True):
        assert before.face is not None
        assert after.face is not None
        assert before.audio is not None
        assert 0 < np.abs(before.face - after.face).max() < 0.02
        np.testing.assert_array_equal(before.audio, after.audio)


@in_bfloat16
def test_a_copy_of_a_rounded_model_has_weights_of_its_own(make_clip: MakeClip) -> None:
    model = load_bundle("emolabel-1").model
    make_quick(model, "bfloat16")
    other = copy.deepcopy(model)
    for weights in other.parts()["face.trunk"].parameters():
        nn.init.zeros_(weights)
    clip = make_clip(model.input_spec, 1)
    (before,), (after,) = model.predict([clip]), other.predict([clip])
    assert before.face is not None
    assert after.face is not None
    assert np.abs(before.face - after.face).max() > 0.05


def test_without_bfloat16_all_is_in_float32(make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "has_bfloat16", lambda device: False)
    exact, same = load_bundle("emolabel-1").model, load_bundle("emolabel-1").model
    make_quick(exact)
    make_quick(same, "bfloat16")
    clip = make_clip(exact.input_spec, 1)
    (before,), (after,) = exact.predict([clip]), same.predict([clip])
    assert torch.equal(values_of(before), values_of(after))


@in_bfloat16
def test_c3d_in_bfloat16(make_clip: MakeClip) -> None:
    torch.manual_seed(1)
    model = Pini2017(Pini2017Config(motion=MotionConfig())).eval()
    quick = copy.deepcopy(model)
    make_quick(quick, "bfloat16")
    assert quick.parts()["motion.trunk"].get_submodule("conv1").get_parameter("weight").dtype == torch.bfloat16
    clip = make_clip(model.input_spec, 1)
    (before,), (after,) = model.predict([clip]), quick.predict([clip])
    assert before.motion is not None
    assert after.motion is not None
    assert 0 < np.abs(before.motion - after.motion).max() < 0.02


class _NormFirst(nn.Module):
    """Somebody's own, whose layers run in another order than they are named."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.norm(x))
        return y


def test_what_is_not_ours_keeps_its_layers() -> None:
    model = Pini2017(Pini2017Config(face=FaceConfig(), motion=None, audio=None)).eval()
    model.get_submodule("branches.face").trunk = theirs = _NormFirst().eval()
    make_quick(model)
    assert isinstance(theirs.norm, nn.BatchNorm2d)


def test_a_loaded_bundle_can_still_be_saved() -> None:
    with emolabel.load_model("emolabel-1", device="cpu") as annotator:
        assert annotator.bundle.model.state_dict().keys() == load_bundle("emolabel-1").model.state_dict().keys()
