"""Augmentation: what it changes, and what it leaves alone."""

import pytest
import torch
from torch import Tensor

from training.augment import augment
from training.settings import AugmentSettings

NOTHING = AugmentSettings(flip=0, zoom=1, shift=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def crops() -> Tensor:
    return torch.randint(0, 256, (6, 32, 32, 3), generator=generator(), dtype=torch.uint8)


def test_no_change_changes_nothing(crops: Tensor) -> None:
    assert torch.allclose(augment(crops, NOTHING, generator()), crops.float(), atol=1e-2)


def test_flip_mirrors(crops: Tensor) -> None:
    flipped = augment(crops, AugmentSettings(flip=1, zoom=1, shift=0), generator())
    assert torch.allclose(flipped, crops.flip(2).float(), atol=1e-2)


def test_half_of_the_crops_are_flipped() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).view(1, 1, 32, 1).expand(400, 32, 32, 3)
    out = augment(ramp, AugmentSettings(flip=0.5, zoom=1, shift=0), generator())
    mirrored = out[:, 16, 0, 0] > out[:, 16, -1, 0]
    assert 0.4 < mirrored.float().mean() < 0.6


def test_shift_moves_by_at_most_its_share() -> None:
    dot = torch.zeros(200, 32, 32, 3, dtype=torch.uint8)
    dot[:, 16, 16] = 255
    out = augment(dot, AugmentSettings(flip=0, zoom=1, shift=0.125), generator()).sum(dim=3)
    row = (out.sum(dim=2) * torch.arange(32)).sum(dim=1) / out.sum(dim=(1, 2))
    assert (row - 16).abs().max() <= 4.01  # 0.125 of 32 px
    assert (row - 16).abs().max() > 3


def test_zoom_goes_both_ways() -> None:
    square = torch.zeros(200, 32, 32, 3, dtype=torch.uint8)
    square[:, 8:24, 8:24] = 255
    out = augment(square, AugmentSettings(flip=0, zoom=1.25, shift=0), generator())
    area = out[..., 0].sum(dim=(1, 2)) / 255 / 256
    assert 1 / 1.25**2 - 0.03 < area.min() < 0.72
    assert 1.45 < area.max() < 1.25**2 + 0.03


def test_all_frames_of_a_slice_are_changed_alike() -> None:
    frame = torch.randint(0, 256, (2, 1, 32, 32, 3), generator=generator(), dtype=torch.uint8)
    strong = AugmentSettings(rotate_deg=20, stretch=1.2, gamma=1.5, erase=0.5)
    out = augment(frame.expand(2, 16, 32, 32, 3), strong, generator(3))
    assert out.shape == (2, 16, 32, 32, 3)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert not torch.allclose(out[0, 0], frame[0, 0].float(), atol=1)


def test_erase_hides_a_rectangle_of_one_grey(crops: Tensor) -> None:
    out = augment(crops, AugmentSettings(flip=0, zoom=1, shift=0, erase=1), generator())
    for before, after in zip(crops.float(), out, strict=True):
        changed = ((before - after).abs() > 0.5).any(dim=2)
        share = changed.float().mean()
        assert 0.005 < share < 0.17  # 0.1 to 0.4 of each side
        hidden = after[changed]
        assert torch.allclose(hidden, hidden[0, 0].expand_as(hidden))


def test_blur_takes_detail_and_gamma_keeps_black_and_white(crops: Tensor) -> None:
    blurred = augment(crops, AugmentSettings(flip=0, zoom=1, shift=0, blur=1), generator())
    assert blurred.diff(dim=2).abs().mean() < 0.8 * crops.float().diff(dim=2).abs().mean()
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 32, 32, 3)
    dark = augment(ends, AugmentSettings(flip=0, zoom=1, shift=0, gamma=2), generator())
    assert torch.allclose(dark, ends.float(), atol=1e-2)


def test_the_same_seed_draws_the_same(crops: Tensor) -> None:
    strong = AugmentSettings(rotate_deg=20, blur=0.5, erase=0.5, gamma=1.3)
    assert torch.equal(augment(crops, strong, generator(1)), augment(crops, strong, generator(1)))
    assert not torch.equal(augment(crops, strong, generator(1)), augment(crops, strong, generator(2)))
