"""What the first bytes of an H.264 packet tell of its frame. Source: Rec. ITU-T H.264, 7.3.1 and 7.4.1."""

from typing import Final

from av.video.stream import VideoStream

_SLICES: Final = range(1, 6)
"""`nal_unit_type` of coded slices; 5 is that of frames at which decoding can start."""
_PARAMETERS: Final = (7, 8, 13, 15)
"""Of what later frames need to be decoded at all."""


def nal_length_bytes(stream: VideoStream) -> int:
    """Bytes of the length in front of each NAL unit, as ISO/IEC 14496-15 (5.3.3.1) has it; 0: start codes instead."""
    setup = stream.codec_context.extradata
    return (setup[4] & 3) + 1 if setup is not None and len(setup) >= 7 and setup[0] == 1 else 0


def stands_alone(packet: memoryview, length_bytes: int) -> bool:
    """Whether no other frame needs anything of this packet: all of its slices have a `nal_ref_idc` of 0.

    A picture has it in all of its slices or in none, but a packet may hold two pictures: the fields of a frame.
    """
    at, n_slices = 0, 0
    while at + length_bytes < len(packet):
        header = packet[at + length_bytes]
        kind = header & 0x1F
        if kind in _PARAMETERS or (kind in _SLICES and header >> 5 & 3):
            return False
        n_slices += kind in _SLICES
        at += length_bytes + int.from_bytes(packet[at : at + length_bytes], "big")
    return n_slices > 0
