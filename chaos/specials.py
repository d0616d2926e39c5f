"""Hostile files that are each there once: playlists that point elsewhere, archives, bombs, devices, links, names."""

import gzip
import io
import os
import pickle
import socket
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from chaos.cases import Case, Clip, Lures
from chaos.containers import Part, parts_of, with_part_replaced

SPARSE_BYTES: Final = 64 * 2**30


def special_cases(clips: Sequence[Clip], lures: Lures) -> Iterator[Case]:
    """Every special there is."""
    whole = [clip.content for clip in clips if clip.suffix == ".mp4" and any(p.name == "stbl" for p in _of(clip))]
    mp4 = max(whole, key=len)
    for number, (suffix, text) in enumerate(_playlists(lures)):
        for named in dict.fromkeys((suffix, ".mp4", ".mkv", ".ts")):
            yield _written("playlists", f"list{number}{named}", text)
    for number, (suffix, content) in enumerate(_hidden_references(mp4, lures)):
        yield _written("references in media", f"ref{number}{suffix}", content)
    for number, content in enumerate(_not_media(lures)):
        yield _written("archives, programs", f"other{number}.mp4", content)
    for number, (suffix, content) in enumerate(_bombs(mp4)):
        yield _written("bombs", f"bomb{number}{suffix}", content)
    for number, clip in enumerate({clip.suffix: clip for clip in reversed(clips)}.values()):
        yield Case("sparse giants", f"giant{number}{clip.suffix}", partial(_sparse, content=clip.content))
    yield Case("sparse giants", "zeros.mp4", partial(_sparse, content=b""))
    yield from _no_files(lures)
    for name in _names():
        yield _written("names", name, mp4)


def _of(clip: Clip) -> list[Part]:
    return parts_of(clip.content)


def _written(kind: str, name: str, content: bytes) -> Case:
    return Case(kind, name, lambda path: path.write_bytes(content))


def _playlists(lures: Lures) -> Iterator[tuple[str, bytes]]:
    """Usual suffix and content of texts that name other files."""
    targets = [str(lures.secret(".ts")), f"file://{lures.secret('.ts')}", f"{lures.url}/a.ts"]
    text = str(lures.secret(".txt"))
    for target in targets:
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"
        yield ".m3u8", hls.encode()
        yield ".m3u8", b"\xef\xbb\xbf\r\n  " + hls.encode()
        yield ".m3u8", b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + hls.encode()  # FFmpeg skips tags
        yield ".m3u8", b"\n" * 6000 + hls.encode()  # beyond the bytes that are looked at first
        master = (
            f'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",URI="{target}"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}'
        )
        yield ".m3u8", master.encode()
        key = f'#EXTM3U\n#EXT-X-MAP:URI="{target}"\n#EXT-X-KEY:METHOD=AES-128,URI="{text}"\n#EXTINF:5,\n{target}\n'
        yield ".m3u8", key.encode()
        yield ".m3u8", hls.replace(target, f"concat:{text}|{target}").encode()
        yield ".ffconcat", f"ffconcat version 1.0\nfile '{target}'\n".encode()
        yield ".txt.mp4", f"file '{target}'\n".encode()
        dash = f"<BaseURL>{target}</BaseURL><SegmentList><SegmentURL media='{target}'/></SegmentList>"
        dash = f"<Period><AdaptationSet><Representation id='1' bandwidth='1'>{dash}</Representation></AdaptationSet>"
        mpd = f"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'>{dash}</Period></MPD>"
        yield ".mpd", ("<?xml version='1.0'?>\n" + mpd).encode()
        yield ".mpd", mpd.encode("utf-16")
        yield ".asx", f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>'.encode()
        yield ".pls", f"[playlist]\nFile1={target}\nNumberOfEntries=1\n".encode()
        yield ".smil", f'<smil><body><video src="{target}"/></body></smil>'.encode()
        yield ".svg", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>'.encode()
        yield ".asf", f"[Reference]\r\nRef1={target}\r\n".encode()
        yield ".mov", f"RTSPtext\r{target}\r".encode()
        yield ".url", f"[InternetShortcut]\nURL={target}\n".encode()
        yield ".txt.mp4", target.encode()
        yield ".avs", f'DirectShowSource("{target}")'.encode()
    host, port = lures.url.removeprefix("http://").split(":")
    sdp = (
        f"v=0\no=- 0 0 IN IP4 {host}\ns=x\nc=IN IP4 {host}\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    )
    yield ".sdp", sdp.encode()
    yield ".sdp", b"\n" + sdp.encode()


def _hidden_references(mp4: bytes, lures: Lures) -> Iterator[tuple[str, bytes]]:
    """Sound containers whose insides name other files."""
    target = str(lures.secret(".mp4"))
    for entry in (_alias(target), _box(b"url ", bytes(4) + f"file://{target}\0".encode())):
        content = mp4
        for part in [part for part in parts_of(mp4) if part.name == "dref"][::-1]:
            content = with_part_replaced(content, part, _box(b"dref", struct.pack(">II", 0, 1) + entry))
        yield ".mp4", content
        yield ".mov", _box(b"moov", _box(b"rmra", _box(b"rmda", _box(b"rdrf", bytes(4) + b"url " + entry))))
    for link in (str(lures.secret(".ts")), f"{lures.url}/a.ts"):
        hls = f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n{link}\n#EXT-X-ENDLIST\n".encode()
        yield ".avi", _avi_with_subtitles(hls)
        yield ".mp4", _box(b"ftyp", b"isom\0\0\2\0isom") + hls
        yield ".mp4", _box(b"ftyp", b"isom\0\0\2\0") + f"<MPD><BaseURL>{link}</BaseURL></MPD>".encode()


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def _alias(target: str) -> bytes:
    """A Macintosh alias record in a data reference: the sort that FFmpeg can follow (`mov_read_dref`)."""
    path = target.encode() + b"\0" * (len(target) % 2)
    record = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    for kind in (2, 18):  # the path on the volume, the POSIX path
        record += struct.pack(">HH", kind, len(path)) + path
    return _box(b"alis", bytes(4) + record + struct.pack(">HH", 0xFFFF, 0))


def _avi_with_subtitles(text: bytes) -> bytes:
    """An AVI whose subtitle stream is a text that FFmpeg opens as a file of its own (`GAB2`)."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    gab2 = b"GAB2\0" + struct.pack("<HI", 2, 0) + struct.pack("<HI", 4, len(text)) + text
    header = struct.pack("<14I", 40_000, 0, 0, 16, 125, 0, 1, 0, 224, 160, 0, 0, 0, 0)
    stream = b"txts" + bytes(16) + struct.pack("<II", 1, 25) + bytes(4) + struct.pack("<I", 125) + bytes(24)
    strl = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", b""))
    lists = chunk(b"LIST", b"hdrl" + chunk(b"avih", header) + strl) + chunk(b"LIST", b"movi" + chunk(b"00tx", gab2))
    return chunk(b"RIFF", b"AVI " + lists)


class _Opens:
    """Whoever unpickles it opens a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, (str(self._path),)


def _not_media(lures: Lures) -> Iterator[bytes]:
    """Files of other kinds."""
    opens = pickle.dumps(_Opens(lures.secret(".txt")))
    arrays, archive, tape = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(arrays, a=np.array([_Opens(lures.secret(".txt"))], object), allow_pickle=True)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../../x.mp4", b"x")
    with tarfile.open(fileobj=tape, mode="w") as tar:
        link = tarfile.TarInfo("x.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, str(lures.secret(".txt"))
        tar.addfile(link)
    yield from (opens, arrays.getvalue(), archive.getvalue(), tape.getvalue(), gzip.compress(bytes(1 << 20)))
    yield f"<!doctype html><video src='{lures.url}/a.mp4'></video>".encode()
    yield f"%PDF-1.4\n1 0 obj<</Type/Filespec/F({lures.url}/a.mp4)>>endobj\n%%EOF".encode()
    yield Path(sys.executable).resolve().read_bytes()[:200_000]
    yield b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0" + bytes(500)
    yield f"#!/bin/sh\ncat {lures.secret('.txt')}\n".encode()
    yield f"import os\nos.system('cat {lures.secret('.txt')}')\n".encode()
    yield b'{"uri": "x.mp4"}\n' * 1000
    yield b"uri\n" + str(lures.secret(".mp4")).encode() + b"\n"
    yield b"SQLite format 3\0" + bytes(4096)
    yield b"\0" * 100_000
    yield np.random.default_rng(0).bytes(100_000)
    yield b""
    yield b"\0"


def _bombs(mp4: bytes) -> Iterator[tuple[str, bytes]]:
    """Small files that unpack to giants, or claim to."""
    zeros = zlib.compress(bytes(64 * 2**20), 9)
    for width, height in ((2**31 - 1, 2**31 - 1), (60_000, 60_000), (7_680, 4_320)):
        for suffix in (".png", ".mp4"):
            yield suffix, _png(width, height, zeros)
    yield ".png", _png(1_000, 1_000, zeros, frames=2**31 - 1)
    for side in (65_535, 5_700):
        screen = b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(6)
        picture = b"\x2c" + struct.pack("<HHHH", 0, 0, side, side) + b"\0\x02\x02\x44\x01\0"
        yield ".gif", screen + picture * 500 + b";"
    for codec in (b"V_MJPEG", b"V_UNCOMPRESSED", b"A_PCM/INT/LIT", b"V_FFV1"):
        yield ".mkv", _compressed_matroska(codec, zeros)
    yield ".mov", _box(b"moov", _box(b"cmov", _box(b"dcom", b"zlib") + _box(b"cmvd", b"\x0f\xff\xff\xff" + zeros)))
    yield ".mp4", _nested(b"moov", 20_000)
    yield ".mp4", _box(b"ftyp", b"isom\0\0\2\0isom") + _box(b"free", b"") * 500_000 + mp4
    for rate, channels in ((2**32 - 1, 2), (44_100, 65_535), (1, 1), (0, 0), (768_000, 255)):
        form = struct.pack("<HHIIHH", 1, channels, rate, 2**32 - 1, max(channels * 2, 1) & 0xFFFF, 16)
        wave = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data\xff\xff\xff\xff" + bytes(200_000)
        yield ".wav", b"RIFF\xff\xff\xff\xff" + wave
    frame = b"APIC\x7f\x7f\x7f\x7f\x00\x09\x0f\x7f\x7f\x7f" + zeros
    yield ".mp3", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + frame
    yield ".flac", b"fLaC\x80\0\0\x22" + b"\xff" * 34 + bytes(10_000)
    yield ".flac", b"fLaC" + (b"\x06\xff\xff\xff" + bytes(100)) * 1000


def _png(width: int, height: int, packed: bytes, frames: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    animation = chunk(b"acTL", struct.pack(">II", frames, 0)) if frames else b""
    return b"\x89PNG\r\n\x1a\n" + head + animation + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _compressed_matroska(codec: bytes, packed: bytes) -> bytes:
    """A track whose blocks are compressed with zlib (Matroska's `ContentCompression`), 20 bombs in a row."""

    def element(name: str, body: bytes) -> bytes:
        return bytes.fromhex(name) + (len(body) | 1 << 56).to_bytes(8, "big") + body

    encoding = element("6d80", element("6240", element("5034", element("4254", b"\0"))))
    shape = element("e0", element("b0", b"\x1e\0") + element("ba", b"\x10\0"))
    sound = element(
        "e1", element("b5", struct.pack(">f", 48_000.0)) + element("9f", b"\x02") + element("6264", b"\x10")
    )
    kind = element("83", b"\x01" if codec.startswith(b"V") else b"\x02")
    track = element("d7", b"\1") + element("73c5", b"\1") + kind + element("86", codec) + encoding
    tracks = element("1654ae6b", element("ae", track + (shape if codec.startswith(b"V") else sound)))
    blocks = b"".join(element("a3", b"\x81" + struct.pack(">h", 40 * k) + b"\x80" + packed) for k in range(20))
    cluster = element("1f43b675", element("e7", b"\0") + blocks)
    head = element("1a45dfa3", element("4282", b"matroska"))
    info = element("1549a966", element("2ad7b1", b"\x0f\x42\x40"))
    return head + element("18538067", info + tracks + cluster)


def _nested(name: bytes, depth: int) -> bytes:
    """Boxes in boxes."""
    return b"".join(struct.pack(">I", 8 * level) + name for level in range(depth, 0, -1))


def _sparse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.truncate(path, SPARSE_BYTES)


def _no_files(lures: Lures) -> Iterator[Case]:
    """Things that are no regular file, and links."""
    yield Case("no regular files", "pipe.mp4", os.mkfifo)
    yield Case("no regular files", "socket.mp4", _socket)
    yield Case("no regular files", "folder.mp4", Path.mkdir)
    for device in ("zero", "null", "full", "random", "tty", "fd/0"):
        yield Case("no regular files", f"{device[:2]}.mp4", partial(_link, target=f"/dev/{device}"))
    for system in (
        "/proc/self/mem",
        "/proc/self/environ",
        "/proc/self/mountinfo",
        "/proc/self/fd/0",
        "/sys/kernel/notes",
    ):
        yield Case("no regular files", f"{Path(system).name}.mkv", partial(_link, target=system))
    yield Case("links", "loop.mp4", partial(_link, target="loop.mp4"))
    yield Case("links", "nowhere.mp4", partial(_link, target="/nowhere/at/all.mp4"))
    yield Case("links", "up.mp4", partial(_link, target=".."))
    yield Case("links", "text.mp4", _link_to_text)
    for pattern in ("%03d.mp4", "%d.jpg.mkv", "img*.avi", "{a,b}.mp4", "pic%03d.webm"):
        yield Case("links", pattern, partial(_sequence, secret=lures.secret(".png")))


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # the path may be longer than a socket's may
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def _link(path: Path, target: str) -> None:
    path.symlink_to(target)


def _link_to_text(path: Path) -> None:
    """A link out of the folder of inputs, to a text that no row may quote."""
    outside = path.parent.with_suffix(".outside")
    outside.write_text("password=hunter2\n" * 50)
    path.symlink_to(outside)


def _sequence(path: Path, secret: Path) -> None:
    """A picture whose name is a pattern for others beside it, which are secret."""
    path.write_bytes(_png(8, 8, zlib.compress(bytes(8 * 25))))
    for name in ("000.jpg", "001.jpg", "1.jpg", "img001.jpg", "pic001.jpg"):
        os.link(secret, path.with_name(name))


def _names() -> list[str]:
    return [
        "new\nline.mp4",
        "tab\tand\rreturn.mp4",
        "\x1b[31mred\x1b[0m\x07.mp4",
        'it\'s "quoted" `here`.mp4',
        "$(touch x);&|<>.mp4",
        "😀👩‍👩‍👧 emoji.mp4",
        "\u202egnp.4pm.mp4",
        "שלום عالم.mp4",
        "e\u0301\u0300\u0302 zalgo.mp4",
        "Ω≈ç√∫ 日本語.mp4",
        os.fsdecode(b"\xff\xfe\x80 no utf-8.mp4"),
        os.fsdecode(b"\xed\xa0\x80 surrogate.mp4"),
        "n" * 251 + ".mp4",
        "😀" * 62 + ".mp4",
        "-rf.mp4",
        "--help.mp4",
        " leading and trailing .mp4",
        "100%25?query=1#fragment&x.mp4",
        "back\\slash.mp4",
        "glob[a-z]*?.mp4",
        "pipe:0.mp4",
        "concat:a.mp4|b.mp4",
        "file:a.mp4",
        "http:host.mp4",
        "%s%n%03d.mp4",
        "dots....mp4",
        "upper.MP4",
        "user:secret@host.mp4",
    ]
