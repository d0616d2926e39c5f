"""Mean colours of rectangles in constant time, from a summed-area table.

MTCNN sees a frame at a dozen scales, and then hundreds of its regions shrunk to 24 and 48 px, always by the mean over
an area. With a summed-area table (Crow 1984) each of those means costs four look-ups, whatever the area, and all
regions of all frames are taken at once.
"""

import torch
from torch import Tensor


def summed_area(frames: Tensor) -> Tensor:
    """Table of sums over everything above and left.

    Args:
        frames: (T, H, W, C) uint8.

    Returns:
        (T, H+1, W+1, C) int32; entry `[t, y, x]` is the sum of `frames[t, :y, :x]`. Sums of huge frames wrap round
        at 2^32, which cancels out again in the differences.
    """
    t, h, w, c = frames.shape
    table = torch.zeros((t, h + 1, w + 1, c), dtype=torch.int32, device=frames.device)
    for part in _cached(t, frames.device):
        inner = table[part, 1:, 1:]
        torch.cumsum(frames[part], dim=2, dtype=torch.int32, out=inner)
        torch.cumsum(inner, dim=1, dtype=torch.int32, out=inner)
    return table


def _cached(n: int, device: torch.device) -> list[slice]:
    """Frames that are worked on at a time: a CPU's cache holds one, and to go through memory takes twice as long."""
    size = 1 if device.type == "cpu" else max(n, 1)
    return [slice(first, first + size) for first in range(0, n, size)]


def _bins(length: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """`[start, end)` of n bins over `length` pixels, rounded outwards as torch's adaptive average pooling does."""
    step = torch.arange(n, device=length.device)
    start = length[..., None] * step // n
    end = -(-(length[..., None] * (step + 1)) // n)
    return start, end


def shrink(table: Tensor, height: int, width: int) -> Tensor:
    """Whole frames at another size, by the mean over areas.

    Args:
        table: (T, H+1, W+1, C) of `summed_area`.

    Returns:
        (T, height, width, C) float32, 0-255: the same as `interpolate(mode="area")`.
    """
    h, w = table.shape[1] - 1, table.shape[2] - 1
    top, bottom = _bins(torch.tensor(h, device=table.device), height)
    left, right = _bins(torch.tensor(w, device=table.device), width)
    areas = ((bottom - top)[:, None] * (right - left)[None, :]).float()[:, :, None]
    means = torch.empty((len(table), height, width, table.shape[3]), device=table.device)
    for part in _cached(len(table), table.device):
        rows = table[part].index_select(1, bottom) - table[part].index_select(1, top)
        sums = rows.index_select(2, right) - rows.index_select(2, left)
        torch.div(sums, areas, out=means[part])
    return means


def shrink_regions(table: Tensor, frame: Tensor, regions: Tensor, size: int) -> Tensor:
    """Regions of frames as small squares, by the mean over areas.

    Args:
        table: (T, H+1, W+1, C) of `summed_area`.
        frame: (n,) int64, the frame of each region.
        regions: (n, 4) int64 x1, y1, x2, y2 as `[x1, x2)`, `[y1, y2)`, inside the frame and not empty.
        size: side of the squares in pixels.

    Returns:
        (n, size, size, C) float32, 0-255.
    """
    x1, y1, x2, y2 = regions.unbind(1)
    top, bottom = (edge + y1[:, None] for edge in _bins(y2 - y1, size))
    left, right = (edge + x1[:, None] for edge in _bins(x2 - x1, size))
    stride_y = table.shape[2]
    base = (frame * (table.shape[1] * stride_y))[:, None, None]
    flat = table.reshape(-1, table.shape[3])

    def corner(y: Tensor, x: Tensor) -> Tensor:
        place = base + (y * stride_y)[:, :, None] + x[:, None, :]
        return flat.index_select(0, place.flatten()).view(*place.shape, -1)

    sums = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
    areas = (bottom - top)[:, :, None] * (right - left)[:, None, :]
    return sums / areas[..., None]
