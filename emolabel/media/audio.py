"""A stretch of sound as the stream has it: mono at its own rate, placed by presentation time. Runs in the child.

Positions are whole samples on the container's clock: sample `i` sounds at `i / rate` seconds. That grid is the same
for every request, so two stretches that overlap hold the same samples.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext

from emolabel.errors import MediaError, Status
from emolabel.media.source import open_container
from emolabel.media.streams import best_audio, decode_audio, read_only, start_of_clock, time_base_of
from emolabel.types import AudioInfo, Float32Array

PREROLL_S: Final = 0.5
"""Decoders (MP3's bit reservoir, AAC's and Opus' overlap) need what comes before to sound right."""

SNAP_S: Final = 0.005
"""A frame this near to the end of the last one follows it: stamps in milliseconds are not gaps."""

_FORGETFUL: Final = frozenset({"alac", "flac", "mp2", "mp3"})
"""Codecs whose decoders, flushed, are as new. Not so Opus', AC-3's and others' that make up noise as they go on."""

_NOISY: Final = frozenset({"aac"})
"""Such ones whose decoders can be made anew from their header.

In MP4 and MP3 a seek leads to the same packet each time. Not so in Matroska, whose index grows while it is read."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Decoded sound of some samples in a row."""

    samples: Float32Array
    """(n,) in [-1, 1]; zeros where the stream has nothing."""
    runs: tuple[tuple[int, int], ...]
    """`[first, stop)` of the samples that the stream really holds, on the container's clock, ascending."""
    damage: str | None


class SoundReader:
    """Sound of one file by sample. Keeps the file open: the index of hours of MP4 takes long to read.

    Raises:
        MediaError: as `open_container`; CHANGED where there is no sound any more.
    """

    def __init__(self, path: str, info: AudioInfo) -> None:
        self._path, self._info = path, info
        self._files = ExitStack()
        self._rewind()

    def close(self) -> None:
        self._files.close()

    def stretch(self, first: int, n_samples: int) -> Stretch:
        """Decode samples `[first, first + n_samples)` of the best stream; `first` may lie before its start.

        Channels are averaged. Sound at another rate than the probed one, which some streams change to, is left out.
        What was asked before makes no difference, to the bit.

        Raises:
            MediaError: UNREADABLE where there is sound in that stretch, and none of it decodes.
        """
        if first / self._info.sample_rate_hz > self._info.start_s + 2 * PREROLL_S:
            if self._used and self._seek_leaves_traces:
                self._rewind()
            stretch = self._decode(first, n_samples, by_seeking=True)
            if stretch is not None:
                return stretch
        if self._used:
            self._rewind()
        stretch = self._decode(first, n_samples, by_seeking=False)
        assert stretch is not None, "reading from the start always gives a stretch"
        return stretch

    def _rewind(self) -> None:
        """Open the file anew: the one way back to the start that all containers know."""
        self._files.close()
        self._container = self._files.enter_context(open_container(self._path))
        stream = best_audio(self._container)
        if stream is None:
            raise MediaError(Status.CHANGED, "its audio stream is gone since it was probed")
        read_only(self._container, stream)
        self._stream, self._used = stream, False
        codec, kind = stream.codec_context.codec.canonical_name, self._container.format.name
        in_mp4 = "mp4" in kind
        self._noisy = in_mp4 and codec in _NOISY and stream.codec_context.extradata is not None
        flushed = codec in _FORGETFUL or codec.startswith("pcm_")
        self._seek_leaves_traces = not (self._noisy or (in_mp4 and flushed) or kind == codec == "mp3")

    def _seek(self, sample: int) -> bool:
        time_s = sample / self._info.sample_rate_hz - PREROLL_S + start_of_clock(self._container)
        ticks = round(time_s / time_base_of(self._stream))
        try:
            self._container.seek(ticks, stream=self._stream, backward=True)
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError):  # no index, or a broken one
            return False
        return True

    def _decode(self, first: int, n_samples: int, by_seeking: bool) -> Stretch | None:
        """As `stretch`; None where a seek landed too late."""
        self._used = True
        if by_seeking and not self._seek(first):
            return None
        rate = self._info.sample_rate_hz
        samples = np.zeros(n_samples, np.float32)
        runs: list[tuple[int, int]] = []
        n_broken = n_packets = 0
        scale, clock_s = float(time_base_of(self._stream)), start_of_clock(self._container)
        position: int | None = None
        decoder = _like_new(self._stream.codec_context) if by_seeking and self._noisy else None
        for stamp, frames in decode_audio(self._container, self._stream, decoder):
            if stamp is not None:
                at = round((stamp * scale - clock_s) * rate)
                if by_seeking and position is None and at > first:
                    return None
                if at >= first + n_samples + round(PREROLL_S * rate):
                    break
                if first <= at < first + n_samples:
                    n_packets += 1
                    n_broken += frames is None
            for frame in frames or ():
                position = _place(frame.pts, scale, clock_s, rate, position)
                if frame.sample_rate != rate:
                    n_broken += 1
                    continue
                mono = mono_of(frame)
                _lay(mono, position - first, samples)
                _extend(runs, max(position, first), min(position + len(mono), first + n_samples))
                position += len(mono)
        if n_broken and not runs:
            raise MediaError(Status.UNREADABLE, f"none of the {n_packets} packets of sound here could be decoded")
        damage = f"{n_broken} of {n_packets} packets of sound could not be decoded" if n_broken else None
        return Stretch(samples, tuple(runs), damage)


def _like_new(used: AudioCodecContext) -> AudioCodecContext:
    """A decoder as another one was before it had decoded anything."""
    context = CodecContext.create(used.codec, "r")
    assert isinstance(context, AudioCodecContext)
    context.extradata = used.extradata
    return context


def mono_of(frame: AudioFrame) -> Float32Array:
    """(n,) mean of a frame's channels in [-1, 1], from any of FFmpeg's sample formats."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        mono = (values.astype(np.float32).mean(axis=0) - 128) / 128
    elif np.issubdtype(values.dtype, np.signedinteger):
        mono = values.astype(np.float64).mean(axis=0) / 2.0 ** (8 * values.itemsize - 1)
    else:
        mono = values.mean(axis=0)
    clean: Float32Array = np.clip(np.nan_to_num(mono, posinf=1, neginf=-1), -1, 1).astype(np.float32)
    return clean


def _place(pts: int | None, scale: float, clock_s: float, rate: int, expected: int | None) -> int:
    """Sample at which a frame begins."""
    if pts is None:
        return expected or 0
    stamped = round((pts * scale - clock_s) * rate)
    if expected is not None and abs(stamped - expected) <= SNAP_S * rate:
        return expected
    return stamped


def _lay(mono: Float32Array, at: int, samples: Float32Array) -> None:
    """Copy sound into place, as far as it lies inside."""
    begin, stop = max(at, 0), min(at + len(mono), len(samples))
    if begin < stop:
        samples[begin:stop] = mono[begin - at : stop - at]


def _extend(runs: list[tuple[int, int]], begin: int, stop: int) -> None:
    """Note `[begin, stop)` as filled; frames come in order, so only the last run can grow."""
    if begin >= stop:
        return
    if runs and begin <= runs[-1][1]:
        runs[-1] = (runs[-1][0], max(runs[-1][1], stop))
    else:
        runs.append((begin, stop))
