"""Where the parts of a container lie: boxes of MP4, elements of Matroska, chunks of AVI and WAV."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

EBML_MAGIC: Final = b"\x1a\x45\xdf\xa3"


@dataclass(frozen=True)
class Part:
    """A piece of a container that says how long it is."""

    name: str
    at: int
    size_at: int
    size_bytes: int
    body: int
    end: int


_MP4_PARENTS: Final = {"moov", "trak", "mdia", "minf", "stbl", "dinf", "edts", "udta", "mvex", "moof", "traf"}
_EBML_PARENTS: Final = {"18538067", "1549a966", "1654ae6b", "ae", "e0", "e1", "1f43b675", "1c53bb6b", "a0"}


def parts_of(content: bytes) -> list[Part]:
    """All parts of a sound MP4, Matroska or RIFF file, parents first; none of other files."""
    if content[4:8] == b"ftyp":
        return list(_mp4_parts(content, 0, len(content)))
    if content.startswith(EBML_MAGIC):
        return list(_ebml_parts(content, 0, len(content)))
    if content.startswith(b"RIFF"):
        return list(_riff_parts(content, 0, len(content)))
    return []


def _mp4_parts(content: bytes, at: int, stop: int) -> Iterator[Part]:
    while at + 8 <= stop:
        size = int.from_bytes(content[at : at + 4], "big")
        end = at + size
        if size < 8 or end > stop:
            return
        part = Part(content[at + 4 : at + 8].decode("latin-1"), at, at, 4, at + 8, end)
        yield part
        if part.name in _MP4_PARENTS:
            yield from _mp4_parts(content, part.body, end)
        elif part.name in ("stsd", "dref"):  # version, flags and a count come first
            yield from _mp4_parts(content, part.body + 8, end)
        at = end


def _ebml_parts(content: bytes, at: int, stop: int) -> Iterator[Part]:
    while at + 2 <= stop:
        id_bytes = 9 - content[at].bit_length()
        size_at = at + id_bytes
        if id_bytes > 4 or size_at >= stop or content[size_at] == 0:
            return
        size_bytes = 9 - content[size_at].bit_length()
        mask = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(content[size_at : size_at + size_bytes], "big") & mask
        body = size_at + size_bytes
        end = stop if size == mask else min(body + size, stop)  # all ones: the size is not known
        part = Part(content[at:size_at].hex(), at, size_at, size_bytes, body, end)
        yield part
        if part.name in _EBML_PARENTS:
            yield from _ebml_parts(content, body, end)
        at = end


def _riff_parts(content: bytes, at: int, stop: int) -> Iterator[Part]:
    while at + 8 <= stop:
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        end = min(at + 8 + size, stop)
        part = Part(content[at : at + 4].decode("latin-1"), at, at + 4, 4, at + 8, end)
        yield part
        if part.name in ("RIFF", "LIST"):
            yield from _riff_parts(content, part.body + 4, end)
        at = end + size % 2


def with_part_replaced(content: bytes, part: Part, replacement: bytes) -> bytes:
    """The content with one part replaced, and the sizes of all that it lies in made to fit."""
    grown = bytearray(content)
    growth = len(replacement) - (part.end - part.at)
    for parent in parts_of(content):
        if parent.body <= part.at and part.end <= parent.end:
            place = slice(parent.size_at, parent.size_at + parent.size_bytes)
            if content.startswith(EBML_MAGIC):  # a longer size may not fit into its bytes: let it be unknown
                grown[place] = ((1 << 7 * parent.size_bytes + 1) - 1).to_bytes(parent.size_bytes, "big")
            else:
                order: Literal["little", "big"] = "little" if content.startswith(b"RIFF") else "big"
                size = int.from_bytes(content[place], order) + growth
                grown[place] = size.to_bytes(parent.size_bytes, order)
    grown[part.at : part.end] = replacement
    return bytes(grown)
