"""The summed-area table against torch's own area pooling."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from emolabel.faces.integral import shrink, shrink_regions, summed_area

sides = st.integers(1, 40)


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(sum(shape)))


def test_entries_are_sums_of_everything_above_and_left() -> None:
    table = summed_area(torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8).view(1, 2, 3, 1))
    assert table[0, :, :, 0].tolist() == [[0, 0, 0, 0], [0, 1, 3, 6], [0, 5, 12, 21]]


@given(sides, sides, sides, sides)
@settings(max_examples=60, deadline=None)
def test_shrink_is_area_interpolation(height: int, width: int, new_height: int, new_width: int) -> None:
    frames = noise(2, height, width, 3)
    ours = shrink(summed_area(frames), new_height, new_width).permute(0, 3, 1, 2)
    theirs = interpolate(frames.permute(0, 3, 1, 2).float(), size=(new_height, new_width), mode="area")
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


@given(st.data(), sides, sides, st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_shrink_regions_pools_each_region_alone(data: st.DataObject, height: int, width: int, size: int) -> None:
    frames = noise(3, height, width, 3)
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    regions = torch.tensor([[0, 0, width, height], [x1, y1, x2, y2]])
    ours = shrink_regions(summed_area(frames), torch.tensor([0, 2]), regions, size)
    pixels = frames.permute(0, 3, 1, 2).float()
    whole, part = adaptive_avg_pool2d(pixels[0], size), adaptive_avg_pool2d(pixels[2, :, y1:y2, x1:x2], size)
    torch.testing.assert_close(ours.permute(0, 3, 1, 2), torch.stack([whole, part]), atol=1e-3, rtol=0)


def test_sums_beyond_32_bits_cancel_out() -> None:
    frame = torch.full((1, 3000, 3000, 1), 255, dtype=torch.uint8)  # its whole sum is 2.3e9
    assert shrink(summed_area(frame), 5, 5).unique().tolist() == [255.0]
