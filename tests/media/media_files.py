"""Small media files with known content, made with PyAV where no real file shows the case."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 160, 96


BITS = 8


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    """(height, width, 3) gray bars that tell its number modulo 256, the highest bit first."""
    bits = [number >> (BITS - 1 - k) & 1 for k in range(BITS)]
    bars = np.repeat([60 + 140 * bit for bit in bits], -(-width // BITS))[:width]
    return np.broadcast_to(bars[None, :, None], (height, width, 3)).astype(np.uint8)


def number_of(frame: npt.NDArray[np.uint8]) -> int:
    """The reverse of `picture`, after lossy coding."""
    width = -(-frame.shape[1] // BITS)
    levels = [frame[:, k * width + width // 3 : k * width + 2 * width // 3].mean() for k in range(BITS)]
    return sum(int(level > 130) << (BITS - 1 - k) for k, level in enumerate(levels))


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    format_name: str | None = None,
    n_frames: int = 50,
    rate: int = 25,
    stamps: Sequence[int] | None = None,
    b_frames: int = 2,
    gop: int = 10,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    container_options: dict[str, str] | None = None,
) -> Path:
    """A video of `picture(0..)`; `stamps` are in 1/1000 s where frames are not evenly spaced."""
    with av.open(str(path), "w", format=format_name, container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = gop
        if codec in ("libx264", "mpeg4", "mpeg2video"):
            stream.codec_context.max_b_frames = b_frames
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(n_frames if stamps is None else len(stamps)):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(
    path: Path,
    samples: npt.NDArray[np.float32],
    *,
    codec: str = "pcm_s16le",
    rate: int = 16_000,
    pieces: Iterable[tuple[int, int]] | None = None,
    with_video_s: float = 0.0,
    grain: int = 0,
) -> Path:
    """Mono sound; `pieces` are the `[first, stop)` samples that are written, each stamped where it belongs.

    With `grain`, noise of that strength on the pictures makes the file as big as a filmed one.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        video = container.add_stream("libx264", rate=25) if with_video_s else None
        if video is not None:
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        pictures = _grainy(round(with_video_s * 25), grain)

        def show_until(time_s: float) -> None:
            for number, frame in pictures:
                assert video is not None
                container.mux(video.encode(frame))
                if number / 25 >= time_s:
                    return

        for first, stop in pieces or [(0, len(samples))]:
            for begin in range(first, stop, 1000):
                part = samples[None, begin : min(begin + 1000, stop)]
                scaled = np.round(part * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(scaled, format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
                container.mux(stream.encode(frame))
                show_until(begin / rate)
        show_until(with_video_s)
        if video is not None:
            container.mux(video.encode(None))
        container.mux(stream.encode(None))
    return path


def _grainy(n: int, grain: int) -> Iterator[tuple[int, av.VideoFrame]]:
    random = np.random.default_rng(7)
    for number in range(n):
        noise = random.integers(0, grain + 1, (HEIGHT, WIDTH, 3), np.uint8)
        yield number, av.VideoFrame.from_ndarray(picture(number) + noise, format="rgb24")


def tone(seconds: float, rate: int = 16_000) -> npt.NDArray[np.float32]:
    """Two sines below 4 kHz, at most 0.5."""
    t = np.arange(round(seconds * rate)) / rate
    mixed: npt.NDArray[np.float32] = (0.3 * np.sin(2 * np.pi * 220 * t) + 0.2 * np.sin(2 * np.pi * 1333 * t)).astype(
        np.float32
    )
    return mixed


def overwrite(source: Path, target: Path, at: int, data: bytes) -> Path:
    """A copy with some bytes replaced."""
    content = bytearray(source.read_bytes())
    content[at : at + len(data)] = data
    target.write_bytes(content)
    return target


def boxes(content: bytes) -> dict[str, tuple[int, int]]:
    """Start and end of the outermost boxes of an MP4 file."""
    found: dict[str, tuple[int, int]] = {}
    at = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found[content[at + 4 : at + 8].decode("latin-1")] = (at, at + size)
        if size < 8:
            break
        at += size
    return found


def with_edits(source: Path, target: Path, edits: Sequence[tuple[float, float]]) -> Path:
    """A copy of an MP4 of 25 pictures a second with its index at the end: `edits` are starts and lengths in s.

    ISO/IEC 14496-12, 8.6.6. All tracks get the same list; its starts are in the ticks of the picture.
    """
    content = source.read_bytes()
    entries = b"".join(
        struct.pack(">Iii", round(1000 * length), round(12800 * start), 1 << 16) for start, length in edits
    )
    content = content[: boxes(content)["moov"][0]] + _edited(content[boxes(content)["moov"][0] :], entries)
    target.write_bytes(content)
    return target


def _edited(content: bytes, entries: bytes) -> bytes:
    parts = []
    for name, (start, end) in boxes(content).items():
        body = content[start + 8 : end]
        if name in ("moov", "trak", "edts"):
            body = _edited(body, entries)
        elif name == "elst":
            body = struct.pack(">II", 0, len(entries) // 12) + entries
        parts.append(struct.pack(">I", len(body) + 8) + name.encode("latin-1") + body)
    return b"".join(parts)
