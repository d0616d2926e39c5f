"""Ranges of bytes: which are held, and which are still to be fetched. Pure."""

from collections.abc import Iterable, Sequence

from emolabel.media.outline import ByteRange


def union(ranges: Iterable[ByteRange]) -> list[ByteRange]:
    """The same bytes as ascending ranges that do not touch.

    >>> union([(5, 9), (0, 3), (3, 4), (6, 7), (2, 2)])
    [(0, 4), (5, 9)]
    """
    joined: list[ByteRange] = []
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def without(wanted: Iterable[ByteRange], held: Sequence[ByteRange]) -> list[ByteRange]:
    """What is wanted and not held.

    Args:
        held: as `union` gives it.

    >>> without([(0, 10), (20, 22)], [(2, 4), (8, 21)])
    [(0, 2), (4, 8), (21, 22)]
    """
    rest: list[ByteRange] = []
    for start, stop in union(wanted):
        for have, until in held:
            if until <= start or have >= stop:
                continue
            rest.append((start, have))
            start = until
        rest.append((start, stop))
    return [(start, stop) for start, stop in rest if start < stop]
