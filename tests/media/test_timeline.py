from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.media.timeline import NUDGE_S, ascending, end_of, hidden, in_order, jumps_back, nearest_frame, seconds

ticks = st.lists(st.integers(-(10**6), 10**9), min_size=1, max_size=60)


@given(ticks)
def test_ascending_is_strict_and_close(stamps: list[int]) -> None:
    times_s = seconds(np.array(stamps), Fraction(1, 90_000), 0.5)
    line = ascending(times_s)
    assert np.all(np.diff(line) > 0)
    assert np.abs(line - np.sort(times_s)).max() <= NUDGE_S * len(stamps) + 1e-9


@given(st.lists(st.integers(0, 10**7), min_size=2, max_size=60))
def test_in_order_never_reorders(stamps: list[int]) -> None:
    assert np.all(np.diff(in_order(seconds(np.array(stamps), Fraction(1, 90_000), 0.0))) > 0)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_pictures_are_told_by_their_stamps_even_when_stamps_repeat(stamps: list[int]) -> None:
    shown = seconds(np.sort(np.array(stamps)), Fraction(1, 1000), 0.0)
    line = ascending(shown)
    last = -1
    for expected, time_s in enumerate(shown.tolist()):
        number = nearest_frame(line, time_s, last)
        assert number == expected
        last = expected


def test_a_picture_between_frames_is_none_of_them() -> None:
    line = np.array([0.0, 0.04, 0.08, 10.0])
    assert nearest_frame(line, 5.0, 1) is None
    assert nearest_frame(line, 0.05, -1) == 1
    assert nearest_frame(line, 0.04, 3) is None


def test_reordered_frames_are_no_jump_but_a_new_time_line_is() -> None:
    assert jumps_back(np.array([0.0, 0.16, 0.08, 0.04, 0.12])) == 0
    assert jumps_back(np.array([0.0, 5.0, 10.0, 0.0, 5.0, 10.0])) == 1


@pytest.mark.parametrize(
    ("times", "duration_s", "rate", "expected"),
    [
        ([0.0, 0.04], 0.1, None, 0.14),
        ([0.0, 0.04], 0.0, Fraction(10), 0.08),
        ([2.0], 0.0, Fraction(10), 2.1),
        ([2.0], 0.0, None, 2.04),
    ],
)
def test_end_of_the_last_frame(times: list[float], duration_s: float, rate: Fraction | None, expected: float) -> None:
    assert end_of(np.array(times), duration_s, rate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("codec", "packet", "is_hidden"),
    [
        ("vp8", b"\x10\x00", False),  # show_frame is bit 4 (RFC 6386, 9.1)
        ("vp8", b"\x00\x00", True),
        ("vp9", bytes([0b10_00_0_0_1_0, 0]), False),  # marker, profile 0, not existing, key frame, show
        ("vp9", bytes([0b10_00_0_1_0_0, 0]), True),
        ("vp9", bytes([0b10_00_1_000, 0]), False),  # shows an existing frame
        ("vp9", bytes([0b10_11_0_0_1_0, 0]), True),  # profile 3 has a reserved bit: show is one bit lower
        ("vp9", bytes([0b10_11_0_0_0_1, 0]), False),
        ("vp9", bytes([0b10_00_0_1_0_0, 0b110_00000]), False),  # a superframe ends in a shown frame
        ("h264", b"\x00\x00", False),
        ("vp8", b"", False),
    ],
)
def test_alt_ref_frames_are_hidden(codec: str, packet: bytes, is_hidden: bool) -> None:
    assert hidden(codec, memoryview(packet)) is is_hidden


@given(st.floats(0, 2.0**31), st.floats(1e-12, 1.0))
def test_a_last_frame_always_ends_after_it_begins(last_s: float, duration_s: float) -> None:
    assert end_of(np.array([last_s]), duration_s, None) > last_s
