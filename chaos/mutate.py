"""Hostile files, made from sound clips: the same seed gives the same bytes. Pure up to the last step, which writes.

Every special (`chaos.specials`) is there once; then mutations, each of which breaks one clip in one way, as often as
asked.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from chaos.cases import Case, Clip, Lures
from chaos.containers import parts_of, with_part_replaced
from chaos.specials import special_cases

Mutation: TypeAlias = Callable[[bytes, bytes, np.random.Generator], bytes]
"""A broken clip from a clip, another one (a donor), and chance."""


def make_cases(clips: Sequence[Clip], lures: Lures, n_cases: int, seed: int) -> list[Case]:
    """Every special once, then mutations until there are `n_cases`; more, where there are more specials."""
    cases = list(special_cases(clips, lures))
    return cases + [_mutated(clips, number, seed) for number in range(n_cases - len(cases))]


def _mutated(clips: Sequence[Clip], number: int, seed: int) -> Case:
    kinds = list(MUTATIONS)
    kind = kinds[number % len(kinds)]
    chance = np.random.default_rng([seed, number])
    clip = clips[number // len(kinds) % len(clips)]  # each kind meets each clip
    donor = clips[int(chance.integers(len(clips)))]

    def make(path: Path) -> None:
        path.write_bytes(MUTATIONS[kind](clip.content, donor.content, np.random.default_rng([seed, number, 1])))

    return Case(kind, f"{number:05d}{clip.suffix}", make)


def flip_bits(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """1 to 2,000 bits, all over the file or in its first or last kilobytes, where the headers are."""
    broken = np.frombuffer(clip, np.uint8).copy()
    n_flips = int(10 ** chance.uniform(0, 3.3))
    near = min(int(10 ** chance.uniform(2, 4)), len(broken))
    first, stop = ((0, len(broken)), (0, near), (len(broken) - near, len(broken)))[int(chance.integers(3))]
    places = chance.integers(first, stop, n_flips)
    np.bitwise_xor.at(broken, places, (1 << chance.integers(0, 8, n_flips)).astype(np.uint8))
    return bytes(broken)


def truncate(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """Cut at any length, short ones as often as long ones."""
    return clip[: int(len(clip) ** chance.uniform(0, 1))]


def splice(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """The head of one file, the body of another."""
    cut = int(len(clip) ** chance.uniform(0.3, 1))
    return clip[:cut] + donor[min(cut, len(donor)) if chance.random() < 0.5 else 0 :]


def zero_range(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """A stretch of zeros, as a disk or a download leaves them."""
    length = int(len(clip) ** chance.uniform(0.2, 1))
    at = int(chance.integers(0, max(len(clip) - length, 1)))
    return clip[:at] + bytes(length) + clip[at + length :]


def move_blocks(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """Blocks of 512 bytes to 64 KiB in another order, lost, or there twice."""
    size = 1 << int(chance.integers(9, 17))
    blocks = [clip[at : at + size] for at in range(0, len(clip), size)]
    order = np.arange(len(blocks))
    places = chance.integers(0, len(blocks), max(1, len(blocks) // 20))
    order[places] = chance.integers(0, len(blocks), len(places))
    return b"".join(blocks[k] for k in order.tolist())


def wrong_sizes(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """Parts that claim to be longer, shorter or endless; of other containers, any four bytes of the head."""
    places = [slice(part.size_at, part.size_at + part.size_bytes) for part in parts_of(clip)]
    return _patch_some(clip, places or [slice(at, at + 4) for at in range(4, min(512, len(clip)), 4)], chance)


_COUNTS_MP4: Final = {"stts": 4, "stsc": 4, "stco": 4, "ctts": 4, "stss": 4, "stsz": 8, "elst": 4, "stsd": 4, "dref": 4}
_SIZES_IN_CODECS: Final = (
    (b"\x00\x00\x01\xb3", 4, 3),  # MPEG-1 and -2 sequence header
    (b"\xff\xc0\x00\x11\x08", 5, 4),  # JPEG, start of frame
    (b"\x9d\x01\x2a", 3, 4),  # VP8 key frame
    (b"GIF8", 6, 4),
    (b"IHDR", 4, 8),
)
_TIMES_EBML: Final = {"4489", "2ad7b1", "23e383", "e7", "b5"}


def absurd_size(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """Pictures of no size, or of 65,535 x 65,535 px, in the container's headers or in the codec's."""
    places: list[slice] = []
    for part in parts_of(clip):
        if part.name == "tkhd":
            places.append(slice(part.end - 8, part.end))
        elif part.name in ("avc1", "hvc1", "hev1", "mp4v", "s263", "jpeg", "av01", "vp09"):
            places.append(slice(part.body + 24, part.body + 28))
        elif part.name in ("b0", "ba"):
            places.append(slice(part.body, part.end))
        elif part.name == "strf":
            places.append(slice(part.body + 4, part.body + 12))
    for magic, offset, length in _SIZES_IN_CODECS:
        at = clip.find(magic)
        if at >= 0:
            places.append(slice(at + offset, at + offset + length))
    return _patch_some(clip, places or [slice(0, 64)], chance)


def absurd_times(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """Clocks that stand still, run backwards or for thousands of years."""
    places: list[slice] = []
    for part in parts_of(clip):
        if part.name in ("mvhd", "mdhd"):
            places += [slice(part.body + 12, part.body + 16), slice(part.body + 16, part.body + 20)]
        elif part.name in ("tkhd", "elst"):
            places.append(slice(part.body + 20, part.body + 24))
        elif part.name in ("stts", "ctts"):
            places += [slice(at, at + 4) for at in range(part.body + 12, min(part.end, part.body + 44), 8)]
        elif part.name in _TIMES_EBML and part.end > part.body:
            places.append(slice(part.body, part.end))
        elif part.name in ("avih", "strh"):
            places += [slice(at, at + 4) for at in (part.body, part.body + 20, part.body + 24, part.body + 32)]
    for magic in (b"\x00\x00\x01\xba", b"FLV\x01"):  # clocks of MPEG packs, stamps of FLV tags
        at = clip.find(magic)
        if at >= 0:
            places += [slice(at + 4, at + 10), slice(at + 17, at + 21)]
    return _patch_some(clip, places or [slice(0, 64)], chance)


def wrong_counts(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """Tables that claim no entries, so that there are no frames, or four billion; of other containers, lost tables."""
    places = [
        slice(part.body + _COUNTS_MP4[part.name], part.body + _COUNTS_MP4[part.name] + 4)
        for part in parts_of(clip)
        if part.name in _COUNTS_MP4
    ]
    if places:
        return _patch_some(clip, places, chance)
    parts = parts_of(clip)
    if not parts:
        return clip[: len(clip) // 50]
    lost = parts[int(chance.integers(len(parts)))]
    return with_part_replaced(clip, lost, b"")


def multiply(clip: bytes, donor: bytes, chance: np.random.Generator) -> bytes:
    """Thousands of copies of one part: streams, tables, boxes of nothing; of other containers, of its head."""
    n_copies = int(10 ** chance.uniform(1, 3.7))
    small = [part for part in parts_of(clip) if 0 < part.end - part.at < 20_000]
    if not small:
        return clip[:2048] * n_copies + clip
    streams = [part for part in small if part.name in ("trak", "ae") or clip[part.body : part.body + 4] == b"strl"]
    some = streams if streams and chance.random() < 0.6 else small
    part = some[int(chance.integers(len(some)))]
    copy = clip[part.at : part.end]
    return with_part_replaced(clip, part, copy * min(n_copies, 2**23 // len(copy)))


def _patch_some(clip: bytes, places: Sequence[slice], chance: np.random.Generator) -> bytes:
    """One to four of the places overwritten with extreme numbers."""
    broken = bytearray(clip)
    for k in chance.integers(0, len(places), int(chance.integers(1, 5))).tolist():
        length = len(broken[places[k]])
        if length:
            broken[places[k]] = _extreme(length, chance)
    return bytes(broken)


def _extreme(length: int, chance: np.random.Generator) -> bytes:
    choices = (
        bytes(length),
        bytes(length - 1) + b"\x01",
        b"\xff" * length,
        b"\x7f" + b"\xff" * (length - 1),
        b"\x80" + bytes(length - 1),
        (b"\x00\x01" * length)[:length],
        chance.bytes(length),
    )
    return choices[int(chance.integers(len(choices)))]


MUTATIONS: Final[dict[str, Mutation]] = {
    "bit flips": flip_bits,
    "truncated": truncate,
    "spliced heads": splice,
    "zeroed stretches": zero_range,
    "moved blocks": move_blocks,
    "wrong sizes": wrong_sizes,
    "absurd pictures": absurd_size,
    "absurd times": absurd_times,
    "wrong counts": wrong_counts,
    "thousands of parts": multiply,
}
