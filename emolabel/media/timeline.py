"""From the stamps of packets to the times of frames. Pure.

Containers stamp in whole ticks of a time base, in decoding order, with repeats, holes and jumps. What the rest of
the package sees is one strictly ascending row of seconds on the container's clock.
"""

from fractions import Fraction
from typing import Final

import numpy as np

from emolabel.types import Float64Array, Int64Array

NUDGE_S: Final = 1e-6
"""Least distance between two frames: frames that carry the same stamp are set apart by this."""

JUMP_S: Final = 3.0
"""A stamp this far behind its predecessor in decoding order is a new time line, not a reordered frame."""

STILL_S: Final = 0.04
"""Length of a picture whose duration nothing tells."""


def seconds(ticks: Int64Array, time_base: Fraction, origin_s: float) -> Float64Array:
    """Stamps in ticks as seconds on the container's clock.

    Args:
        ticks: (N,) stamps.
        origin_s: where the container starts, in seconds of the stream's own clock.
    """
    return ticks.astype(np.float64) * float(time_base) - origin_s


def ascending(times_s: Float64Array) -> Float64Array:
    """The same times sorted, and each at least `NUDGE_S` after the one before.

    >>> ascending(np.array([0.0, 0.08, 0.04, 0.04])).tolist()
    [0.0, 0.04, 0.040001, 0.08]
    """
    steps = np.arange(len(times_s)) * NUDGE_S
    pushed: Float64Array = np.maximum.accumulate(np.sort(times_s) - steps) + steps
    return pushed


def jumps_back(times_s: Float64Array) -> int:
    """How often stamps in decoding order fall back further than any reordering of frames explains."""
    return int(np.count_nonzero(np.diff(times_s) < -JUMP_S))


def in_order(times_s: Float64Array) -> Float64Array:
    """Times of pictures taken in the order they are shown: where a stamp does not advance, the line goes on.

    >>> in_order(np.array([0.0, 0.04, 0.08, 0.0, 0.04])).tolist()
    [0.0, 0.04, 0.08, 0.12, 0.16]
    """
    steps = np.diff(times_s)
    advancing = steps[steps >= NUDGE_S]
    usual = float(np.median(advancing)) if len(advancing) else STILL_S
    line = np.concatenate([times_s[:1], np.where(steps >= NUDGE_S, steps, usual)])
    summed: Float64Array = np.round(np.cumsum(line), 9)
    return summed


def end_of(times_s: Float64Array, last_duration_s: float, mean_rate: Fraction | None) -> float:
    """Where the last of `times_s` (N >= 1, ascending) ends.

    Its own duration counts; without one, the gap before it; without that, the stream's mean frame rate. Always later
    than it begins: of a duration below `NUDGE_S` nothing may be left far out on the line.
    """
    last = float(times_s[-1])
    if last_duration_s > 0:
        return last + max(last_duration_s, NUDGE_S)
    if len(times_s) > 1:
        return last + float(np.median(np.diff(times_s[-16:])))
    return last + (float(1 / mean_rate) if mean_rate else STILL_S)


def nearest_frame(times_s: Float64Array, time_s: float, after: int) -> int | None:
    """Number of the frame that a decoded picture is: the one whose time it carries.

    Args:
        times_s: (N,) ascending times of all frames.
        time_s: the picture's time.
        after: number of the picture decoded before it, -1 for none: pictures come in the order of display.

    Returns:
        None where no frame after `after` lies within half of the local frame gap.
    """
    right = int(np.searchsorted(times_s, time_s))
    candidates = [k for k in (right - 1, right) if after < k < len(times_s)]
    if not candidates:  # several frames of one stamp were set apart: the next of them is meant
        candidates = [after + 1] if after + 1 < len(times_s) else []
    if not candidates:
        return None
    best = min(candidates, key=lambda k: abs(float(times_s[k]) - time_s))
    gaps = np.diff(times_s[max(best - 1, 0) : best + 2])
    tolerance = float(gaps.min()) / 2 if len(gaps) else STILL_S / 2
    pushed = (max(best - right, 0) + 2) * NUDGE_S  # how far frames of one stamp may have been set apart
    return best if abs(float(times_s[best]) - time_s) <= max(tolerance, pushed) else None


def hidden(codec: str, packet: memoryview) -> bool:
    """Whether a packet shows nothing by itself: the alt-ref frames of VP8 and VP9.

    They only serve as reference for later frames and must not be counted. Sources: RFC 6386, section 9.1 (VP8:
    bit 4 of the first byte is `show_frame`); VP9 bitstream specification v0.6, 6.2 (uncompressed header) and
    annex B (a superframe, which always ends in a shown frame).
    """
    if len(packet) == 0:
        return False
    if codec == "vp8":
        return not packet[0] >> 4 & 1
    if codec == "vp9":
        return _vp9_hidden(packet)
    return False


def _vp9_hidden(packet: memoryview) -> bool:
    first = packet[0]
    if first >> 6 != 0b10 or packet[-1] >> 5 == 0b110:  # not a frame header, or a superframe
        return False
    shift = 2 if first >> 4 & 0b11 == 0b11 else 3  # profile 3 has one more bit before show_existing_frame
    show_existing, show = first >> shift & 1, first >> (shift - 2) & 1
    return not show_existing and not show
