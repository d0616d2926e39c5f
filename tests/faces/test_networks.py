"""Both engines give what facenet-pytorch's modules give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emolabel.faces.networks import Cascade, build_torch

openvino_networks = pytest.importorskip("emolabel.faces.openvino_networks", reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def both() -> tuple[Cascade, Cascade]:
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    weights = [network.state_dict() for network in (PNet(), RNet(), ONet())]
    return build_torch(torch.device("cpu")), openvino_networks.build_openvino(*weights, threads=1)


@settings(deadline=None)  # a new size takes longer
@given(n=st.integers(1, 3), height=st.integers(12, 40), width=st.integers(12, 40), seed=st.integers(0, 99))
def test_maps_of_any_size(both: tuple[Cascade, Cascade], n: int, height: int, width: int, seed: int) -> None:
    pixels = 255 * torch.rand(n, height, width, 3, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        for theirs, ours in zip(*(cascade.propose(pixels) for cascade in both), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_sizes_that_come_often(both: tuple[Cascade, Cascade], monkeypatch: pytest.MonkeyPatch) -> None:
    """For each the network is compiled, once it has paid, and two are kept: answers are the same all the time."""
    monkeypatch.setattr(openvino_networks, "_WORTH_COMPILING_PX", 3000)
    monkeypatch.setattr(openvino_networks, "_MOST_SIZES", 2)
    pictures = [
        255 * torch.rand(2, side, 30, 3, generator=torch.Generator().manual_seed(side)) for side in (30, 31, 40)
    ]
    with torch.inference_mode():
        expected = [both[0].propose(pixels) for pixels in pictures]
        for _ in range(8):
            for pixels, theirs in zip(pictures, expected, strict=True):
                for one, other in zip(both[1].propose(pixels), theirs, strict=True):
                    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [1, 4, 7, 70])
@pytest.mark.parametrize(("stage", "side"), [("refine", 24), ("decide", 48)])
def test_squares(both: tuple[Cascade, Cascade], stage: str, side: int, n: int) -> None:
    pixels = 255 * torch.rand(n, side, side, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        (shift, score), (our_shift, our_score) = (getattr(cascade, stage)(pixels) for cascade in both)
        again = getattr(both[1], stage)(pixels.flip(0))
    assert shift.shape == (n, 4)
    torch.testing.assert_close(our_shift, shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(our_score, score, atol=1e-5, rtol=0)
    torch.testing.assert_close(again[1].flip(0), our_score, atol=1e-6, rtol=0)  # and the first answer still stands
