"""What a file really holds: streams, true presentation times, rotation, damage. Runs in the child.

All packets are read, few are decoded: headers are not believed. A trial decode of the first frames gives the
picture's size and rotation, and shows whether the packets' stamps are the frames' times. Where they are not (fields
in packets of their own, streams without stamps), the whole stream is decoded to get the times.

Sample aspect ratio is ignored: faces in anamorphic video are judged as stored. So is a mirroring display matrix.
"""

from array import array
from dataclasses import dataclass, field
from typing import Any, Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media.containers import PICTURES
from emolabel.media.source import open_container, readable
from emolabel.media.streams import (
    best_audio,
    best_video,
    decode_audio,
    decode_video,
    prepare_video,
    read_only,
    start_of_clock,
    time_base_of,
)
from emolabel.media.timeline import STILL_S, ascending, end_of, hidden, in_order, jumps_back, seconds
from emolabel.types import AudioInfo, Float64Array, Int64Array, MediaInfo, VideoInfo

MAX_FRAMES: Final = 20_000_000
_TRIAL_FRAMES: Final = 12
_NO_STAMP: Final = -(2**63)
_SAMPLE_RATES: Final = range(1_000, 768_001)
_SHORTFALL_S: Final = 1.0
_FARTHEST_S: Final = 2.0**31
"""68 years from the container's start. Further out, float64 no longer tells times apart that lie `NUDGE_S` apart."""


@dataclass
class _Packets:
    """Stamps of one stream's packets, in decoding order."""

    pts: "array[int]" = field(default_factory=lambda: array("q"))
    duration: "array[int]" = field(default_factory=lambda: array("q"))
    n_corrupt: int = 0

    def add(self, packet: "Packet[Any]") -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        self.pts.append(_NO_STAMP if stamp is None else stamp)
        self.duration.append(packet.duration or 0)
        self.n_corrupt += packet.is_corrupt
        if len(self.pts) > MAX_FRAMES:
            raise MediaError(Status.UNSUPPORTED, f"a stream of more than {MAX_FRAMES} packets is not taken")

    def ticks(self) -> tuple[Int64Array, Int64Array]:
        """(N,) stamps and (N,) durations of the packets that carry a stamp."""
        pts, duration = np.array(self.pts, np.int64), np.array(self.duration, np.int64)
        stamped = pts != _NO_STAMP
        return pts[stamped], duration[stamped]


@dataclass(frozen=True)
class _Trial:
    """The first frames, decoded."""

    width: int
    height: int
    rotation_deg: int
    stamps: tuple[int | None, ...]
    sound: bool
    """Whether they came without any error or corrupt frame."""


def probe_file(path: str, limits: DecodeLimits) -> MediaInfo:
    """Read all of a file's packets and decode its first frames.

    Raises:
        MediaError: MISSING, DENIED, UNREADABLE or UNSUPPORTED, with the reason in words.
    """
    with open_container(path) as container:
        video, audio = best_video(container), best_audio(container)
        if video is None and audio is None:
            raise _no_stream(container)
        clock_s = start_of_clock(container)
        seen, error = _read_packets(container, video, audio)
        notes = [f"reading stops early: {error}"] if error else []
        header_s = container.duration / av.time_base if container.duration else None
        name = container.format.name
        video_info = audio_info = None
        if video is not None:
            video_info = _probe_video(path, video, seen[video.index], clock_s, limits, notes)
        if audio is not None:
            audio_info = _probe_audio(path, audio, seen[audio.index], clock_s, notes)
    if video_info is None and audio_info is None:
        raise MediaError(Status.UNREADABLE, "; ".join(notes) or "its streams are empty")
    end_s = max(part.end_s for part in (video_info, audio_info) if part is not None)
    start_s = video_info.frame_times_s[0] if video_info is not None else 0.0
    if end_s - start_s > limits.max_duration_s:
        reason = f"a time line of {end_s - start_s:.0f} s is damage, or longer than what is taken"
        raise MediaError(Status.UNSUPPORTED, f"{reason} ({limits.max_duration_s:.0f} s)")
    if header_s is not None and header_s - end_s > max(_SHORTFALL_S, header_s / 20):
        notes.append(f"cut short: the header promises {header_s:.1f} s, the content ends after {end_s:.1f} s")
    info = MediaInfo(
        container=name,
        duration_header_s=header_s,
        video=video_info,
        audio=audio_info,
        damage="; ".join(notes) or None,
    )
    if not info.end_s > info.start_s:
        raise MediaError(Status.UNREADABLE, "; ".join([*notes, "its content has no length"]))
    return info


def _read_packets(
    container: InputContainer, video: VideoStream | None, audio: AudioStream | None
) -> tuple[dict[int, _Packets], str | None]:
    """Stamps of all packets that show or sound, per stream, and why reading ended early."""
    streams = [stream for stream in (video, audio) if stream is not None]
    read_only(container, *streams)
    seen = {stream.index: _Packets() for stream in streams}
    codec = video.codec_context.name if video is not None else ""
    try:
        for packet in container.demux(streams):
            if packet.size == 0 or packet.is_discard:  # discarded: outside an MP4's edit list, decoded but not shown
                continue
            shows = video is not None and packet.stream_index == video.index
            if not (shows and hidden(codec, memoryview(packet))):
                seen[packet.stream_index].add(packet)
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        return seen, readable(error)
    except IndexError:  # the end, as PyAV has it for containers whose streams turn up while they are read
        return seen, None
    return seen, None


def _probe_video(
    path: str, stream: VideoStream, packets: _Packets, clock_s: float, limits: DecodeLimits, notes: list[str]
) -> VideoInfo | None:
    if stream.width * stream.height > limits.max_frame_px:
        raise MediaError(
            Status.UNSUPPORTED,
            f"a frame of {stream.width}x{stream.height} px is bigger than what is taken ({limits.max_frame_px} px)",
        )
    if packets.n_corrupt:
        notes.append(f"{packets.n_corrupt} packets of the picture are damaged")
    trial = _try_video(path, limits)
    if trial is None:
        if packets.pts:
            notes.append("no frame of the picture can be decoded")
        return None
    ticks, durations = packets.ticks()
    time_base = time_base_of(stream)
    unsorted_s = seconds(ticks, time_base, clock_s)
    last_s = float(durations[ticks.argmax()] * time_base) if len(ticks) else 0.0
    jumps = jumps_back(unsorted_s)
    if jumps:
        notes.append(f"the time line jumps back {jumps} times: frames are placed in the order they come")
    stamped = len(ticks) == len(packets.pts) and not _stamps_guessed(stream)
    seekable = stamped and not jumps and _stamps_hold(ticks, trial)
    times_s = ascending(unsorted_s)
    if not seekable:
        decoded_s = _times_by_decoding(path, stream, clock_s, limits)
        if jumps or len(decoded_s) != len(times_s):
            times_s = decoded_s
    if stream.container.format.name in PICTURES.values():
        times_s = times_s[:1]  # a phone's JPEG may hold a second picture behind the first: a thumbnail, a depth map
    farthest_s = float(np.abs(times_s).max(initial=0))
    if farthest_s > _FARTHEST_S:
        raise MediaError(Status.UNSUPPORTED, f"a frame {farthest_s:.3g} s from the start is damage, not a time")
    upright = trial.rotation_deg % 180 == 0
    return VideoInfo(
        codec=_codec_name(stream),
        width=trial.width if upright else trial.height,
        height=trial.height if upright else trial.width,
        rotation_deg=trial.rotation_deg,
        n_frames_header=stream.frames or None,
        frame_times_s=times_s,
        end_s=end_of(times_s, last_s, stream.average_rate),
        seekable=seekable,
        starts_soundly=trial.sound,
    )


def _try_video(path: str, limits: DecodeLimits) -> _Trial | None:
    """Decode until `_TRIAL_FRAMES` frames are there; None where the whole file gives none."""
    with open_container(path) as container:
        stream = best_video(container)
        assert stream is not None, "the file had a video stream a moment ago"
        prepare_video(stream, limits)
        read_only(container, stream)
        frames: list[VideoFrame] = []
        sound = True
        for _, decoded in decode_video(container, stream):
            frames += decoded or []
            sound = sound and decoded is not None and not any(frame.is_corrupt for frame in decoded)
            if len(frames) >= _TRIAL_FRAMES:
                break
        if not frames:
            return None
        first = frames[0]
        return _Trial(
            width=first.width,
            height=first.height,
            rotation_deg=upright_turn(first),
            stamps=tuple(frame.pts for frame in frames),
            sound=sound,
        )


def upright_turn(frame: VideoFrame) -> int:
    """Clockwise degrees that make a frame upright, to the nearest quarter turn.

    FFmpeg gives the display matrix's angle counter-clockwise (`av_display_rotation_get`), and it is the turn of the
    picture that the player is to make.
    """
    return round(-frame.rotation / 90) * 90 % 360


def _stamps_hold(ticks: Int64Array, trial: _Trial) -> bool:
    """Whether the first decoded frames carry the first packets' stamps; a broken start says nothing against them."""
    return not trial.sound or list(trial.stamps) == np.sort(ticks)[: len(trial.stamps)].tolist()


def _stamps_guessed(stream: VideoStream) -> bool:
    """Whether FFmpeg had to guess in which order frames are shown: AVI has no stamps, only a place for each frame."""
    return "avi" in stream.container.format.name.split(",") and stream.codec_context.name in ("h264", "hevc")


def _times_by_decoding(path: str, like: VideoStream, clock_s: float, limits: DecodeLimits) -> Float64Array:
    """(N,) times of all frames that come out of the decoder, in the order they come out."""
    with open_container(path) as container:
        stream = best_video(container)
        assert stream is not None, "the file had a video stream a moment ago"
        prepare_video(stream, limits)
        read_only(container, stream)
        stamps = [frame.pts for _, frames in decode_video(container, stream) for frame in frames or ()]
    if all(stamp is None for stamp in stamps):
        gap_s = float(1 / like.average_rate) if like.average_rate else STILL_S
        return np.arange(len(stamps), dtype=np.float64) * gap_s
    known = seconds(np.array([s if s is not None else 0 for s in stamps], np.int64), time_base_of(like), clock_s)
    missing = np.array([s is None for s in stamps])
    known[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), known[~missing])
    return in_order(known)


def _probe_audio(
    path: str, stream: AudioStream, packets: _Packets, clock_s: float, notes: list[str]
) -> AudioInfo | None:
    ticks, durations = packets.ticks()
    if len(ticks) == 0:
        return None
    rate = _decoded_rate(path)
    if rate is None:
        notes.append("the sound cannot be decoded")
        return None
    if rate not in _SAMPLE_RATES:
        notes.append(f"its sound of {rate} Hz is not taken")
        return None
    time_base = time_base_of(stream)
    ends_s = seconds(ticks + durations, time_base, clock_s)
    return AudioInfo(
        codec=_codec_name(stream),
        sample_rate_hz=rate,
        n_channels=stream.codec_context.channels,
        start_s=max(0.0, float(seconds(ticks, time_base, clock_s).min())),
        end_s=float(ends_s.max()),
    )


def _decoded_rate(path: str) -> int | None:
    """Sample rate of the first sound that decodes: some headers (HE-AAC) give half of it."""
    with open_container(path) as container:
        stream = best_audio(container)
        assert stream is not None, "the file had an audio stream a moment ago"
        read_only(container, stream)
        rates = (frame.sample_rate for _, frames in decode_audio(container, stream) for frame in frames or ())
        return next(rates, None)


def _codec_name(stream: VideoStream | AudioStream) -> str:
    return stream.codec_context.codec.canonical_name


def _no_stream(container: InputContainer) -> MediaError:
    kinds = sorted({stream.type for stream in container.streams})
    if "video" in kinds or "audio" in kinds:
        return MediaError(Status.UNSUPPORTED, "there is no decoder for its picture or sound")
    return MediaError(Status.UNSUPPORTED, f"neither picture nor sound in it, only: {', '.join(kinds) or 'nothing'}")
