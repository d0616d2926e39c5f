"""The building blocks against hand-computed values, the spec's shapes and the published networks."""

import math

import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from emolabel.models.blocks.c3d import C3dTrunk
from emolabel.models.blocks.face_trunk import INCEPTION_STAGES, InceptionTrunk, check_backbone, face_trunk
from emolabel.models.blocks.frozen import Freezable
from emolabel.models.blocks.init import reset_parameters
from emolabel.models.blocks.netvlad import NetVlad
from emolabel.models.blocks.normalise import CAFFE, FIXED, RAW, WHITEN, Gain, Normalise, PixelNorm
from emolabel.models.blocks.soundnet import PaddedConv1d, SoundNetTrunk, same_padding


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes_through(module: nn.Module, names: list[str], inputs: Tensor) -> list[tuple[int, ...]]:
    """Output shapes, without the batch, of the named inner modules in the order in which they run."""
    shapes: list[tuple[int, ...]] = []
    hooks = [
        module.get_submodule(name).register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
        for name in names
    ]
    with torch.inference_mode():
        module(inputs)
    for hook in hooks:
        hook.remove()
    return shapes


class TestNetVlad:
    def test_hand_computed_example_of_the_spec(self) -> None:
        vlad = NetVlad(clusters=2, dim=2, alpha=1.0)
        vlad.init_centres(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        assert vlad.assignment.bias is not None
        torch.testing.assert_close(vlad.assignment.bias.detach(), torch.tensor([-1.0, 0.0]))
        features = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        shares = vlad.assignment(features.transpose(1, 2)).softmax(dim=1)[0].T
        torch.testing.assert_close(shares, torch.tensor([[0.7311, 0.2689], [0.2689, 0.7311]]), atol=1e-4, rtol=0)
        torch.testing.assert_close(vlad(features), torch.tensor([[-0.5, 0.5, 0.2441, 0.6636]]), atol=1e-4, rtol=0)

    def test_parameters_of_the_spec(self) -> None:
        vlad = NetVlad(clusters=8, dim=256, alpha=1.0)
        assert parameters(vlad.assignment) == 2_056
        assert vlad.centres.numel() == 2_048
        assert parameters(vlad) == 4_104

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), alpha=st.floats(0.1, 5))
    def test_initial_assignment_is_the_softmax_of_squared_distances(self, seed: int, alpha: float) -> None:
        random = torch.Generator().manual_seed(seed)
        centres, features = torch.randn(4, 6, generator=random), torch.randn(1, 5, 6, generator=random)
        vlad = NetVlad(clusters=4, dim=6, alpha=alpha)
        vlad.init_centres(centres)
        expected = (-alpha * torch.cdist(features, centres[None]).square()).softmax(dim=2)
        actual = vlad.assignment(features.transpose(1, 2)).softmax(dim=1).transpose(1, 2)
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9))
    def test_unit_length_and_blind_to_order_and_repetition(self, seed: int, n: int) -> None:
        random = torch.Generator().manual_seed(seed)
        vlad = NetVlad(clusters=3, dim=5, alpha=0.1)  # soft: no cluster is left with next to nothing
        vlad.init_centres(torch.randn(3, 5, generator=random))
        features = torch.randn(2, n, 5, generator=random)
        out = vlad(features)
        torch.testing.assert_close(out.norm(dim=1), torch.ones(2))
        shuffled = features[:, torch.randperm(n, generator=random)]
        torch.testing.assert_close(vlad(shuffled), out, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(vlad(features.repeat(1, 2, 1)), out, atol=1e-5, rtol=1e-4)

    def test_centres_of_another_shape_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"expected centres \(8, 256\), got \(8, 255\)"):
            NetVlad(clusters=8, dim=256, alpha=1.0).init_centres(torch.zeros(8, 255))


class TestSoundNet:
    LAYERS = ("conv1", "pool", "conv2", "conv3", "conv4")

    @pytest.mark.parametrize(
        ("padding", "lengths"),
        [("same", [11_025, 1_378, 689, 86, 43, 22]), ("original", [11_026, 1_378, 690, 86, 44, 23])],
    )
    def test_lengths_of_the_spec(self, padding: str, lengths: list[int]) -> None:
        trunk = SoundNetTrunk(padding).eval()  # type: ignore[arg-type] # parametrize knows no literals
        shapes = shapes_through(trunk, list(self.LAYERS), torch.zeros(1, 1, 22_050))
        assert [shape[1] for shape in shapes] == lengths
        assert shapes[-1] == (128, lengths[-1])

    @pytest.mark.parametrize("steps", [22, 23])
    def test_head_convolution_gives_six_steps(self, steps: int) -> None:
        assert PaddedConv1d(128, 512, kernel=4, stride=4, padding="same")(torch.zeros(1, 128, steps)).shape[2] == 6

    @pytest.mark.parametrize(
        ("length", "kernel", "stride", "pads"),
        [
            (22_050, 64, 2, (31, 31)),
            (1_378, 32, 2, (15, 15)),
            (86, 16, 2, (7, 7)),
            (43, 8, 2, (3, 4)),
            (22, 4, 4, (1, 1)),
        ],
    )
    def test_pads_of_the_spec(self, length: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
        assert same_padding(length, kernel, stride) == pads

    @given(length=st.integers(1, 5_000), kernel=st.integers(1, 70), stride=st.integers(1, 8))
    def test_same_means_length_over_stride_rounded_up(self, length: int, kernel: int, stride: int) -> None:
        before, after = same_padding(length, kernel, stride)
        assert 0 <= after - before <= 1
        assert (length + before + after - kernel) // stride + 1 == math.ceil(length / stride)

    def test_parameters_of_the_spec(self) -> None:
        trunk = SoundNetTrunk()
        layers = [
            parameters(trunk.get_submodule(f"conv{i}")) + parameters(trunk.get_submodule(f"bn{i}"))
            for i in (1, 2, 3, 4)
        ]
        assert layers == [1_072, 16_480, 32_960, 65_920]
        assert parameters(trunk) == 116_432


class TestC3d:
    def test_shapes_and_parameters_of_the_spec(self) -> None:
        trunk = C3dTrunk().eval()
        shapes = shapes_through(trunk, ["pool1", "pool", "conv5b", "pool5"], torch.zeros(1, 3, 16, 112, 112))
        assert shapes == [
            (64, 16, 56, 56),
            (128, 8, 28, 28),
            (256, 4, 14, 14),
            (512, 2, 7, 7),
            (512, 2, 7, 7),
            (512, 1, 4, 4),
        ]
        assert parameters(trunk) == 27_655_936


@pytest.fixture(scope="module")
def trunk() -> InceptionTrunk:
    trunk = InceptionTrunk()
    reset_parameters(trunk, 0)
    trunk.eval()
    return trunk


class TestFaceTrunk:
    def test_shapes_and_parameters_of_the_spec(self, trunk: InceptionTrunk) -> None:
        shapes = shapes_through(trunk, list(INCEPTION_STAGES), torch.zeros(1, 3, 160, 160))
        assert [shape[1] for shape in shapes] == [79, 77, 77, 38, 38, 36, 17, 17, 8, 8, 3, 3]
        assert [shapes[i][0] for i in (6, 8, 11)] == [256, 896, 1792]
        assert parameters(trunk) == 20_963_328

    def test_is_facenet_pytorch_up_to_repeat_3(self, trunk: InceptionTrunk) -> None:
        whole = InceptionResnetV1(pretrained=None).eval()
        seen: list[Tensor] = []
        whole.repeat_3.register_forward_hook(lambda _m, _i, out: seen.append(out))
        faces = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
        missing, unexpected = whole.load_state_dict(trunk.state_dict(), strict=False)
        assert not unexpected
        assert all(key.startswith(("block8", "last_")) for key in missing)
        with torch.inference_mode():
            whole(faces)
            torch.testing.assert_close(trunk(faces), seen[0], atol=0, rtol=0)

    @pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_mambaout"])
    def test_timm_backbones_of_every_layout_give_a_map_of_3x3(self, name: str) -> None:
        trunk = face_trunk(f"timm:{name}", 96).eval()
        with torch.inference_mode():
            features = trunk(torch.rand(2, 3, 96, 96))
        assert features.shape == (2, trunk.channels, 3, 3)

    def test_tokens_keep_their_place(self) -> None:
        """A change in the picture's upper left moves the upper left of a ViT's map the most."""
        trunk = face_trunk("timm:test_vit", 96)
        reset_parameters(trunk, 0)
        trunk.eval()
        picture = torch.zeros(1, 3, 96, 96)
        changed = picture.clone()
        changed[..., :32, :32] = 1
        with torch.inference_mode():
            moved = (trunk(changed) - trunk(picture)).abs().sum(dim=(0, 1))
        assert moved.flatten().argmax() == 0

    @pytest.mark.parametrize(
        "backbone",
        ["vgg", "timm:", "timm:no_such_model", "timm:hf-hub:timm/resnet18", "timm:local-dir:/etc", "timm:../resnet18"],
    )
    def test_unknown_backbones_and_outside_sources_are_refused(self, backbone: str) -> None:
        with pytest.raises(ValueError, match="unknown face backbone"):
            check_backbone(backbone, 160)

    def test_inception_takes_160_px_only(self) -> None:
        with pytest.raises(ValueError, match="takes crops of 160 px, got 112"):
            check_backbone("inception_resnet_v1", 112)


class TestNormalise:
    def test_whitening_uses_the_population_deviation_over_all_values(self) -> None:
        pixels = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
        pixels[0, 0] = 255  # half of the values: mean 127.5, population deviation 127.5
        out = Normalise(WHITEN)(pixels)
        assert out.shape == (1, 3, 2, 2)
        torch.testing.assert_close(out[0, :, 0], torch.ones(3, 2))
        torch.testing.assert_close(out[0, :, 1], -torch.ones(3, 2))

    def test_whitening_divides_by_no_less_than_one_over_root_n(self) -> None:
        pixels = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
        pixels[1, 0, 0, 0] = 1  # deviation 0.1429, floor 1 / sqrt(48) = 0.1443
        out = Normalise(WHITEN)(pixels)
        assert out[0].abs().max() == 0
        assert out[1, 0, 0, 0].item() == pytest.approx((1 - 1 / 48) * math.sqrt(48))

    def test_each_picture_is_whitened_on_its_own(self) -> None:
        pixels = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        alone = torch.cat([Normalise(WHITEN)(picture[None]) for picture in pixels])
        torch.testing.assert_close(Normalise(WHITEN)(pixels), alone)

    def test_fixed_is_minus_127_5_over_128(self) -> None:
        out = Normalise(FIXED)(torch.tensor([0, 255, 128], dtype=torch.uint8).view(1, 1, 1, 3))
        torch.testing.assert_close(out.flatten(), torch.tensor([-127.5, 127.5, 0.5]) / 128)

    def test_raw_slices_keep_their_values_and_axes(self) -> None:
        slices = torch.randint(0, 256, (1, 16, 112, 112, 3), dtype=torch.uint8)
        out = Normalise(RAW)(slices)
        assert out.shape == (1, 3, 16, 112, 112)
        assert out[0, 2, 5, 7, 9] == slices[0, 5, 7, 9, 2]

    def test_bgr_and_its_means(self) -> None:
        norm = PixelNorm(channels="BGR", mean=(1, 2, 3), std=(2, 1, 1))
        out = Normalise(norm)(torch.tensor([10.0, 20.0, 30.0]).view(1, 1, 1, 3))
        torch.testing.assert_close(out.flatten(), torch.tensor([14.5, 18.0, 7.0]))

    def test_a_mean_cube_lies_with_the_weights(self) -> None:
        normalise = Normalise(CAFFE)
        cube = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 16, 112, 112)
        normalise.load_state_dict({"mean_cube": cube})
        out = normalise(torch.full((1, 16, 112, 112, 3), 9, dtype=torch.uint8))
        assert [out[0, c].unique().item() for c in range(3)] == [9, 8, 7]

    def test_gain(self) -> None:
        torch.testing.assert_close(Gain(256)(torch.tensor([[0.5, -1.0]])), torch.tensor([[[128.0, -256.0]]]))

    def test_a_zero_deviation_is_refused(self) -> None:
        with pytest.raises(ValueError, match="must be positive"):
            PixelNorm(std=(1, 0, 1))


class TestInit:
    def test_he_variance(self) -> None:
        layer = nn.Conv2d(32, 64, 3)
        reset_parameters(layer, 0)
        fan_in = 32 * 9
        assert layer.weight.var().item() == pytest.approx(2 / fan_in, rel=0.05)
        assert layer.weight.mean().item() == pytest.approx(0, abs=1e-3)
        assert layer.bias is not None
        assert layer.bias.abs().max() == 0

    def test_draws_are_the_same_bits_everywhere(self) -> None:
        layer = nn.Linear(6, 1, bias=False)  # bound 1: the draws themselves
        reset_parameters(layer, 7)
        stored = [
            0.3475233316421509,
            -0.5662899017333984,
            0.05858278274536133,
            -0.922642707824707,
            -0.918142557144165,
            0.7549585103988647,
        ]
        assert layer.weight.flatten().tolist() == stored

    def test_batch_norm_starts_as_identity(self) -> None:
        layer = nn.BatchNorm1d(4)
        layer(torch.randn(8, 4) + 3)
        reset_parameters(layer, 0)
        x = torch.randn(2, 4)
        torch.testing.assert_close(layer.eval()(x), x, atol=1e-4, rtol=1e-4)

    def test_netvlad_assignment_belongs_to_its_centres(self) -> None:
        vlad = NetVlad(clusters=3, dim=4, alpha=2.0)
        reset_parameters(vlad, 0)
        assert vlad.centres.abs().max() > 0
        torch.testing.assert_close(vlad.assignment.weight.detach()[..., 0], 4 * vlad.centres.detach())

    def test_seeds_and_names_matter(self) -> None:
        def weight(seed: int, name: str) -> Tensor:
            module = nn.ModuleDict({name: nn.Linear(5, 5)})
            reset_parameters(module, seed)
            return module.get_parameter(f"{name}.weight").detach()

        assert torch.equal(weight(0, "a"), weight(0, "a"))
        assert not torch.equal(weight(0, "a"), weight(1, "a"))
        assert not torch.equal(weight(0, "a"), weight(0, "b"))


class TestFreezable:
    class Part(Freezable):
        def __init__(self, *inner: nn.Module) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), *inner)

    def test_a_frozen_part_ignores_train(self) -> None:
        part = self.Part()
        part.freeze()
        whole = nn.Sequential(part, nn.Dropout())
        whole.train()
        assert whole.training
        assert not any(module.training for module in part.modules())
        assert not any(parameter.requires_grad for parameter in part.parameters())

    def test_thawing_leaves_frozen_parts_inside_frozen(self) -> None:
        inner = self.Part()
        outer = self.Part(inner)
        inner.freeze()
        outer.freeze()
        outer.freeze(False)
        assert outer.training
        assert not inner.training
        own = {name for name, parameter in outer.named_parameters() if parameter.requires_grad}
        assert own == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}
