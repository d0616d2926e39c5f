"""The parts of an MP4 from which FFmpeg tells where every packet lies and when it is shown, without the packets.

An MP4 keeps that in an index of its own (`moov`), apart from the packets (`mdat`): ISO/IEC 14496-12, 4.2 and 8.1.
Files without such an index (Matroska, MPEG-TS, fragmented MP4) can only be read from end to end.
"""

from collections.abc import Callable
from typing import Final

from emolabel.media.containers import MP4_BOXES
from emolabel.types import MediaInfo

ByteRange = tuple[int, int]
"""`[start, stop)`"""

HEAD_BYTES: Final = 8 * 2**20
"""Of the packets: what FFmpeg looks at when it opens a file, and what the probe decodes of it."""

_MAX_BOXES: Final = 64
_KNOWN: Final = (*MP4_BOXES, b"uuid", b"meta", b"udta")
_CODECS: Final = frozenset({"h264", "hevc", "mpeg4", "aac", "alac", "pcm_s16le", "pcm_s16be"})
"""Of these the index says all. VP8 and VP9 have packets that show nothing, and MP3 is cut anew by its content."""


def outline(size: int, read_at: Callable[[int, int], bytes], head_bytes: int = HEAD_BYTES) -> list[ByteRange] | None:
    """What of a file has to be there for its probe: all but the inside of its packets.

    Args:
        size: of the file, in bytes.
        read_at: gives bytes, by where they start and how many they are.
        head_bytes: first bytes of the packets that are wanted, too.

    Returns:
        Ascending ranges; None where the file is no MP4 with an index, or where this would not save half of it.
    """
    ranges: list[ByteRange] = []
    begin = at = 0
    for _ in range(_MAX_BOXES):
        if at == size:
            break
        head = read_at(at, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - at
        if name not in _KNOWN or length < 8 or at + length > size:
            return None
        if name == b"mdat" and length > head_bytes:
            ranges.append((begin, at + head_bytes))
            begin = at + length
        at += length
    ranges.append((begin, size))
    wanted = sum(stop - start for start, stop in ranges)
    return ranges if at == size and wanted <= size / 2 else None


def outline_suffices(info: MediaInfo) -> bool:
    """Whether what was probed from an outline is what the whole file would have given."""
    video, audio = info.video, info.audio
    if info.damage is not None or (video is not None and not (video.seekable and video.starts_soundly)):
        return False
    return all(stream.codec in _CODECS for stream in (video, audio) if stream is not None)
