"""Cutting a time line into windows, and windows into chunks. Pure: no file is touched.

All times are seconds on the container's clock, all stretches half open: `[start_s, end_s)`.
"""

import math
from itertools import pairwise

import numpy as np

from emolabel.config import WindowPolicy
from emolabel.types import Float64Array, Window

MIN_WINDOW_S = 1e-3
"""A remainder shorter than this is rounding, never a window."""


def cut_windows(start_s: float, end_s: float, policy: WindowPolicy) -> tuple[Window, ...]:
    """Cut `[start_s, end_s)` into windows; at least one, numbered from 0.

    Window `k` begins at `start_s + k * stride`. A clip that is no longer than a window is one window, as in
    Pini et al. (2017). A last window that would be cut short by the end is the remainder. One of at least
    `policy.min_s` is always a window of its own; a shorter one follows `policy.remainder`. With a stride shorter
    than the window, a start whose window would show nothing that the one before has not shown is left out; with a
    longer one, what lies between two windows is skipped, and a short remainder has no neighbour to be merged into.

    Raises:
        ValueError: the stretch is empty.

    >>> [(w.start_s, w.end_s) for w in cut_windows(0.0, 10.5, WindowPolicy(length_s=5.0))]
    [(0.0, 5.0), (5.0, 10.5)]
    """
    if not end_s > start_s:
        raise ValueError(f"expected end_s > start_s, got {start_s} and {end_s}")
    if policy.length_s is None or end_s - start_s <= policy.length_s + MIN_WINDOW_S:
        return (Window(0, start_s, end_s),)
    length_s = policy.length_s
    stride_s = policy.stride_s or length_s

    span_s = end_s - start_s
    n_full = 1 + math.floor((span_s - length_s + MIN_WINDOW_S) / stride_s)
    bounds = [(start_s + k * stride_s, start_s + k * stride_s + length_s) for k in range(n_full)]
    if stride_s == length_s:  # a shared edge is the same number on both sides, so that no frame falls between
        edges = [start_s + k * length_s for k in range(n_full + 1)]
        bounds = list(pairwise(edges))
    last_start, last_end = bounds[-1]
    if abs(end_s - last_end) <= MIN_WINDOW_S or last_end > end_s:
        last_end = end_s
        bounds[-1] = (last_start, last_end)

    rest_start = start_s + n_full * stride_s
    if end_s - last_end > MIN_WINDOW_S and end_s - rest_start > MIN_WINDOW_S:
        if end_s - rest_start >= policy.min_s or policy.remainder == "keep":
            bounds.append((rest_start, end_s))
        elif policy.remainder == "merge" and rest_start <= last_end + MIN_WINDOW_S:
            bounds[-1] = (last_start, end_s)
    return tuple(Window(k, first, last) for k, (first, last) in enumerate(bounds))


def frames_in(window: Window, frame_times_s: Float64Array) -> range:
    """Numbers of the frames shown in a window: those with `start_s <= t < end_s`.

    Args:
        frame_times_s: (N,) ascending presentation times.
    """
    first, stop = np.searchsorted(frame_times_s, (window.start_s, window.end_s), side="left")
    return range(int(first), int(stop))


def cut_chunks(windows: tuple[Window, ...], chunk_s: float) -> tuple[tuple[Window, ...], ...]:
    """Group windows into runs of neighbours, each spanning about `chunk_s` seconds: one unit of work, one seek.

    A chunk takes windows while they end within `chunk_s` of its start, and always at least one.
    """
    chunks: list[list[Window]] = []
    for window in windows:
        if chunks and window.end_s - chunks[-1][0].start_s <= chunk_s + MIN_WINDOW_S:
            chunks[-1].append(window)
        else:
            chunks.append([window])
    return tuple(tuple(chunk) for chunk in chunks)
