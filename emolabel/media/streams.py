"""Choosing the streams of a container and decoding them, over broken stretches. Runs in the child."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final, TypeVar

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from emolabel.config import DecodeLimits

FrameT = TypeVar("FrameT")
Decoded = Iterator[tuple[int | None, list[FrameT] | None]]
"""A stamp per packet, and the frames that it brought out; None for a packet that the decoder refused."""

_PICTURES: Final = Disposition.attached_pic | Disposition.timed_thumbnails


def best_video(container: InputContainer) -> VideoStream | None:
    """The video stream that players choose; cover art and thumbnails are not video.

    The first by FFmpeg's `av_find_best_stream`, which weighs disposition, bit rate and resolution.
    """
    streams = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & _PICTURES]
    best = container.streams.best("video")
    if isinstance(best, VideoStream) and best in streams:
        return best
    return max(streams, key=lambda s: s.width * s.height, default=None)


def best_audio(container: InputContainer) -> AudioStream | None:
    """The audio stream that players choose and for which there is a decoder."""
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    best = container.streams.best("audio")
    if isinstance(best, AudioStream) and best in streams:
        return best
    return streams[0] if streams else None


def start_of_clock(container: InputContainer) -> float:
    """Where the container starts, in seconds of its streams' own clock: the zero of all our times."""
    return container.start_time / av.time_base if container.start_time is not None else 0.0


def read_only(container: InputContainer, *wanted: VideoStream | AudioStream | None) -> None:
    """Have FFmpeg throw the packets of all other streams away unread."""
    indices = {stream.index for stream in wanted if stream is not None}
    for stream in container.streams:
        if stream.index not in indices:
            stream.discard = Discard.all


def prepare_video(stream: VideoStream, limits: DecodeLimits) -> None:
    """Bound what the decoder of a stream may take: threads, and the size of a frame."""
    context = stream.codec_context
    context.thread_count = limits.threads
    context.thread_type = "AUTO"
    context.options = {"max_pixels": str(limits.max_frame_px)}


def time_base_of(stream: VideoStream | AudioStream) -> Fraction:
    """Seconds per tick of a stream's stamps."""
    return stream.time_base if stream.time_base is not None else Fraction(1, av.time_base)


def decode_video(
    container: InputContainer, stream: VideoStream, leave_out: "Callable[[Packet[Any]], bool] | None" = None
) -> Decoded[VideoFrame]:
    """Decode a stream from where the container stands to its end, or to where the file is broken beyond reading on.

    Args:
        leave_out: says which packets the decoder is not to get.
    """
    return _decode(container, stream, leave_out)


def decode_audio(
    container: InputContainer, stream: AudioStream, decoder: AudioCodecContext | None = None
) -> Decoded[AudioFrame]:
    """As `decode_video`, for sound; with another decoder than the stream's own, where one is given."""
    return _decode(container, stream, decoder=decoder)


def _decode(
    container: InputContainer,
    stream: VideoStream | AudioStream,
    leave_out: "Callable[[Packet[Any]], bool] | None" = None,
    decoder: AudioCodecContext | None = None,
) -> Decoded[Any]:
    decode = stream.decode if decoder is None else decoder.decode
    packets = container.demux(stream)
    while True:
        stamp: int | None = None
        try:
            packet = next(packets, None)
            if packet is None:
                return
            if packet.size and leave_out is not None and leave_out(packet):
                continue
            stamp = packet.pts
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError):  # the container ends here: what the decoder holds back is good
            packet = None
        except IndexError:  # the end, as PyAV has it for containers whose streams turn up while they are read
            packet = None
        try:
            frames: list[Any] | None = list(decode(packet))
        except MemoryError:
            raise
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError):
            frames = None
        yield stamp, frames
        if packet is None:
            return
