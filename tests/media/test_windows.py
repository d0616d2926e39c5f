import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.config import Remainder, WindowPolicy
from emolabel.media.windows import MIN_WINDOW_S, cut_chunks, cut_windows, frames_in
from emolabel.types import Window

lengths = st.floats(0.2, 20)
starts = st.floats(-1, 100)
spans = st.floats(0.01, 500)
remainders = st.sampled_from(["keep", "merge", "drop"])


def bounds(start_s: float, end_s: float, policy: WindowPolicy) -> list[tuple[float, float]]:
    return [(window.start_s, window.end_s) for window in cut_windows(start_s, end_s, policy)]


@pytest.mark.parametrize(
    ("end_s", "policy", "expected"),
    [
        (3.0, WindowPolicy(length_s=5), [(0, 3)]),
        (5.0, WindowPolicy(length_s=5), [(0, 5)]),
        (12.0, WindowPolicy(length_s=None), [(0, 12)]),
        (12.0, WindowPolicy(length_s=5), [(0, 5), (5, 10), (10, 12)]),
        (10.4, WindowPolicy(length_s=5, remainder="merge"), [(0, 5), (5, 10.4)]),
        (10.4, WindowPolicy(length_s=5, remainder="keep"), [(0, 5), (5, 10), (10, 10.4)]),
        (10.4, WindowPolicy(length_s=5, remainder="drop"), [(0, 5), (5, 10)]),
        (8.0, WindowPolicy(length_s=4, stride_s=2), [(0, 4), (2, 6), (4, 8)]),
        (9.5, WindowPolicy(length_s=4, stride_s=2), [(0, 4), (2, 6), (4, 8), (6, 9.5)]),
        (10.5, WindowPolicy(length_s=2, stride_s=5), [(0, 2), (5, 7)]),
        (12.5, WindowPolicy(length_s=2, stride_s=5), [(0, 2), (5, 7), (10, 12)]),
        (11.5, WindowPolicy(length_s=2, stride_s=5), [(0, 2), (5, 7), (10, 11.5)]),
        (0.3 * 7, WindowPolicy(length_s=0.3, min_s=0, remainder="keep"), [(0.3 * k, 0.3 * (k + 1)) for k in range(7)]),
    ],
)
def test_windows_by_hand(end_s: float, policy: WindowPolicy, expected: list[tuple[float, float]]) -> None:
    found = bounds(0.0, end_s, policy)
    assert len(found) == len(expected)
    assert np.allclose(found, expected, atol=1e-9)


@given(starts, spans, lengths, st.sampled_from(["keep", "merge"]), st.floats(0, 3))
def test_touching_windows_tile_the_clip(
    start_s: float, span_s: float, length_s: float, remainder: Remainder, min_s: float
) -> None:
    end_s = start_s + span_s
    windows = cut_windows(start_s, end_s, WindowPolicy(length_s=length_s, remainder=remainder, min_s=min_s))
    assert [window.index for window in windows] == list(range(len(windows)))
    assert windows[0].start_s == start_s
    assert windows[-1].end_s == end_s
    assert all(a.end_s == b.start_s for a, b in pairwise(windows))
    assert all(window.end_s - window.start_s >= MIN_WINDOW_S for window in windows) or span_s < 2 * MIN_WINDOW_S


@given(starts, st.integers(1, 400), st.sampled_from([0.1, 0.3, 1 / 3, 1.1, 5.0, 0.04 * 7]), remainders)
def test_rounding_makes_no_sliver(start_s: float, n: int, length_s: float, remainder: Remainder) -> None:
    end_s = start_s
    for _ in range(n):
        end_s += length_s  # sums that drift from n * length
    policy = WindowPolicy(length_s=length_s, remainder=remainder, min_s=0.0)
    assert len(cut_windows(start_s, end_s, policy)) == n


@given(starts, spans, lengths, st.floats(0.1, 30), remainders)
def test_strided_windows_stay_inside(
    start_s: float, span_s: float, length_s: float, stride_s: float, remainder: Remainder
) -> None:
    end_s = start_s + span_s
    policy = WindowPolicy(length_s=length_s, stride_s=stride_s, remainder=remainder)
    windows = cut_windows(start_s, end_s, policy)
    assert windows[0].start_s == start_s
    assert all(window.end_s <= end_s for window in windows)
    for k, window in enumerate(windows):
        assert math.isclose(window.start_s, start_s + k * stride_s, abs_tol=1e-6)


def test_an_empty_stretch_is_refused() -> None:
    with pytest.raises(ValueError, match="end_s > start_s"):
        cut_windows(1.0, 1.0, WindowPolicy())


@given(spans, lengths, st.floats(0.5, 120))
def test_chunks_hold_all_windows_in_order(span_s: float, length_s: float, chunk_s: float) -> None:
    windows = cut_windows(0.0, span_s, WindowPolicy(length_s=length_s))
    chunks = cut_chunks(windows, chunk_s)
    assert tuple(window for chunk in chunks for window in chunk) == windows
    for chunk in chunks:
        assert len(chunk) == 1 or chunk[-1].end_s - chunk[0].start_s <= chunk_s + MIN_WINDOW_S


def test_chunks_are_as_long_as_they_may_be() -> None:
    windows = cut_windows(0.0, 100.0, WindowPolicy(length_s=5.0))
    assert [len(chunk) for chunk in cut_chunks(windows, 20.0)] == [4] * 5


@given(st.lists(st.floats(0, 50), min_size=1, max_size=80, unique=True), lengths)
def test_every_frame_is_in_one_window(times: list[float], length_s: float) -> None:
    frame_times_s = np.array(sorted(times))
    windows = cut_windows(float(frame_times_s[0]), float(frame_times_s[-1]) + 0.04, WindowPolicy(length_s=length_s))
    ranges = [frames_in(window, frame_times_s) for window in windows]
    assert [frame for frames in ranges for frame in frames] == list(range(len(times)))


def test_a_frame_on_the_edge_belongs_to_the_later_window() -> None:
    times = np.array([0.0, 0.5, 1.0, 1.5])
    assert frames_in(Window(0, 0.0, 1.0), times) == range(2)
    assert frames_in(Window(1, 1.0, 1.5), times) == range(2, 3)
