"""Stretches of files: inputs that are less than a file."""

import math

from emolabel.errors import MediaError, Status
from emolabel.media.windows import MIN_WINDOW_S
from emolabel.types import MediaInfo

Stretch = tuple[float | None, float | None]
"""Start and end in seconds on the container's clock, as they were given; None: where the content starts, or ends."""

WHOLE: Stretch = (None, None)

_ROUNDED_S = 0.1
"""An end this far beyond the content's is a rounded time, not a missing piece."""


def shown_stretch(stretch: Stretch) -> str:
    """For people.

    >>> shown_stretch((1.5, 4.0)), shown_stretch((1.5, None)), shown_stretch((None, 4.0))
    ('the stretch 1.5-4 s', 'the stretch from 1.5 s on', 'the stretch up to 4 s')
    """
    start_s, end_s = stretch
    if end_s is None:
        return f"the stretch from {start_s:.10g} s on"
    return f"the stretch up to {end_s:.10g} s" if start_s is None else f"the stretch {start_s:.10g}-{end_s:.10g} s"


def senseless(stretch: Stretch) -> str | None:
    """What is wrong with a stretch whatever the file holds, in words; None for nothing."""
    start_s, end_s = stretch
    if any(time_s is not None and not 0 <= time_s < math.inf for time_s in stretch):
        return f"{shown_stretch(stretch)} is none: times are finite, and count from 0"
    if end_s is not None and end_s <= (start_s or 0.0):
        return f"{shown_stretch(stretch)} is empty"
    return None


def stretch_within(stretch: Stretch, info: MediaInfo) -> tuple[float, float, str | None]:
    """Start and end of a stretch of what a file holds, and in words what of it the file does not hold.

    Raises:
        MediaError: UNSUPPORTED: the file holds nothing of it.
    """
    start_s = info.start_s if stretch[0] is None else max(stretch[0], info.start_s)
    end_s = info.end_s if stretch[1] is None else min(stretch[1], info.end_s)
    content = f"the content, which is {info.start_s:.3f}-{info.end_s:.3f} s"
    if stretch != WHOLE and end_s - start_s < MIN_WINDOW_S:
        raise MediaError(Status.UNSUPPORTED, f"{shown_stretch(stretch)} lies outside {content}")
    if stretch[1] is not None and stretch[1] - info.end_s > _ROUNDED_S:
        return start_s, end_s, f"{shown_stretch(stretch)} ends beyond {content}"
    return start_s, end_s, None
