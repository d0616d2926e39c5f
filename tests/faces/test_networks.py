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


@pytest.mark.parametrize(("stage", "side"), [("refine", 24), ("decide", 48)])
def test_squares(both: tuple[Cascade, Cascade], stage: str, side: int) -> None:
    pixels = 255 * torch.rand(7, side, side, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        (shift, score), (our_shift, our_score) = (getattr(cascade, stage)(pixels) for cascade in both)
        again = getattr(both[1], stage)(pixels.flip(0))
    assert shift.shape == (7, 4)
    torch.testing.assert_close(our_shift, shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(our_score, score, atol=1e-5, rtol=0)
    torch.testing.assert_close(again[1].flip(0), our_score, atol=1e-6, rtol=0)  # and the first answer still stands
