"""Packets written by hand: lengths of four bytes, then the header of a NAL unit (Rec. ITU-T H.264, 7.3.1)."""

import pytest

from emolabel.media.h264 import stands_alone

AUD, SEI, PARAMETERS = b"\x09", b"\x06", b"\x68"
KEY, REFERENCE, LOOSE = b"\x65", b"\x41", b"\x01"
"""Slices with `nal_ref_idc` 3, 2 and 0."""


def packet(*units: bytes) -> memoryview:
    return memoryview(b"".join(len(unit + b"data").to_bytes(4, "big") + unit + b"data" for unit in units))


@pytest.mark.parametrize(
    ("units", "alone"),
    [
        ([LOOSE], True),
        ([AUD, SEI, LOOSE, LOOSE], True),
        ([REFERENCE], False),
        ([KEY], False),
        ([LOOSE, REFERENCE], False),  # two fields, of which the second is built on
        ([PARAMETERS, LOOSE], False),
        ([SEI], False),
        ([], False),
    ],
)
def test_what_others_build_on(units: list[bytes], alone: bool) -> None:
    assert stands_alone(packet(*units), 4) is alone


def test_lengths_that_lie_end_the_walk() -> None:
    assert not stands_alone(memoryview(b"\xff\xff\xff\xff\x41"), 4)
    assert stands_alone(memoryview(b"\xff\xff\xff\xff\x01"), 4)
    assert not stands_alone(memoryview(b"\x00\x00\x00\x00" * 8), 4)
