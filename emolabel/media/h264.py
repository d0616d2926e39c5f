"""What the first bytes of an H.264 packet tell of its frame. Source: Rec. ITU-T H.264, 7.3.1 and 7.4.1."""

from typing import Final

from av.video.stream import VideoStream

_SLICES: Final = range(1, 6)
"""`nal_unit_type` of coded slices; 5 is that of frames at which decoding can start."""


def nal_length_bytes(stream: VideoStream) -> int:
    """Bytes of the length in front of each NAL unit, as ISO/IEC 14496-15 (5.3.3.1) has it; 0: start codes instead."""
    setup = stream.codec_context.extradata
    return (setup[4] & 3) + 1 if setup is not None and len(setup) >= 7 and setup[0] == 1 else 0


def stands_alone(packet: memoryview, length_bytes: int) -> bool:
    """Whether no other frame is predicted from this one: `nal_ref_idc` is 0 in all slices of a frame, or in none."""
    at = 0
    while at + length_bytes < len(packet):
        header = packet[at + length_bytes]
        if header & 0x1F in _SLICES:
            return header >> 5 & 3 == 0
        at += length_bytes + int.from_bytes(packet[at : at + length_bytes], "big")
    return False
