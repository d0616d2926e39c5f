"""A video's frames: seek by time, decode forward, tell frames by the time they carry. Runs in the child."""

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media.h264 import nal_length_bytes, stands_alone
from emolabel.media.source import open_container
from emolabel.media.streams import best_video, decode_video, prepare_video, read_only, start_of_clock, time_base_of
from emolabel.media.timeline import nearest_frame
from emolabel.types import Int64Array, UInt8Array, VideoInfo

SEEK_AHEAD_S: Final = 4.0
"""A wanted frame nearer than this is reached by decoding on; a seek would land about as far away."""

REORDERED: Final = 16
"""Frames that decoders may hold back. A seek aims so much earlier, lest it lands between a frame and its reference."""

_STEP_BACK_S: Final = 10.0


class PictureReader:
    """Frames of one file by their number. Keeps its place, so that reading on costs no seek.

    Of H.264 in MP4 and Matroska, frames that nobody wants and no other frame builds on are not decoded.
    """

    def __init__(self, path: str, video: VideoInfo, limits: DecodeLimits) -> None:
        self._path, self._video, self._limits = path, video, limits
        self._files = ExitStack()
        self._at = -1
        """Number of the frame last decoded; -1 before the first, the number of all frames after the last."""
        self._before = -1
        """Number of the frame decoded before it: those between the two do not decode."""
        self._frame: VideoFrame | None = None
        self._wanted: frozenset[int] = frozenset()
        self._last_wanted = -1
        self._thins = video.codec == "h264" and video.seekable
        self._rewind()

    def __enter__(self) -> "PictureReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._files.close()

    def want(self, numbers: Int64Array) -> None:
        """Which frames (K,), ascending, will be asked for next; others before the last of them may be left out."""
        self._wanted = frozenset(numbers.tolist())
        self._last_wanted = int(numbers[-1]) if len(numbers) else -1
        self._before = self._at  # what lies before this place may have been left out

    def picture(self, number: int) -> UInt8Array | None:
        """(H, W, 3) upright RGB of frame `number` in presentation order; None where it cannot be decoded."""
        picture = self._picture(number)
        if picture is None and self._thins:  # perhaps it is there, and was lost with those that were left out
            self._thins = False
            self._seek(number)
            picture = self._picture(number)
        return picture

    def _picture(self, number: int) -> UInt8Array | None:
        if self._before < number < self._at:
            return None  # passed over: what decodes next comes after it
        if not self._ahead(number):
            self._seek(number)
        while self._at < number and self._advance():
            pass
        if self._at != number or self._frame is None:
            return None
        return _upright_rgb(self._frame, self._video)

    def _ahead(self, number: int) -> bool:
        """Whether decoding on from here leads to a frame, and soon."""
        if number < self._at:
            return False
        times_s = self._video.frame_times_s
        here_s = float(times_s[max(self._at, 0)])
        return not self._video.seekable or float(times_s[number]) - here_s <= SEEK_AHEAD_S

    def _seek(self, number: int) -> None:
        """Stand on a frame at or before `number`. Where containers land late, go further back, at last to the start."""
        times_s = self._video.frame_times_s
        aim_s = float(times_s[max(number - REORDERED, 0)])
        if self._video.seekable:
            for target_s in (aim_s, aim_s - _STEP_BACK_S):
                if target_s > times_s[0] and self._land(target_s) and self._at <= number:
                    return
        self._rewind()

    def _land(self, time_s: float) -> bool:
        ticks = round((time_s + self._clock_s) / self._time_base)
        try:
            self._container.seek(ticks, stream=self._stream, backward=True)
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError):  # no index, or a broken one
            return False
        self._start_over()
        landed = self._advance()
        self._before = self._at  # of what lies before the place where it landed, nothing is known
        return landed

    def _rewind(self) -> None:
        """Open the file anew: the one way back to the start that all containers know."""
        self._files.close()
        self._container = self._files.enter_context(open_container(self._path))
        stream = best_video(self._container)
        if stream is None:
            raise MediaError(Status.CHANGED, "its video stream is gone since it was probed")
        self._stream = stream
        self._nal_length_bytes = nal_length_bytes(stream)
        self._time_base = float(time_base_of(stream))
        self._clock_s = start_of_clock(self._container)
        prepare_video(stream, self._limits)
        read_only(self._container, stream)
        self._start_over()

    def _start_over(self) -> None:
        self._at = self._before = -1
        self._frame = None
        self._decoded = self._numbered()

    def _advance(self) -> bool:
        """Go to the next frame that decodes; False at the end."""
        self._before = self._at
        for number, frame in self._decoded:
            self._at, self._frame = number, frame
            return True
        self._at, self._frame = len(self._video.frame_times_s), None
        return False

    def _numbered(self) -> Iterator[tuple[int, VideoFrame | None]]:
        """Frames from here on with their numbers; None in place of one that FFmpeg flags as corrupt."""
        times_s = self._video.frame_times_s
        last = -1
        packets = decode_video(self._container, self._stream, self._unwanted)
        decoded = (frame for _, frames in packets for frame in frames or ())
        for frame in decoded:
            if not self._video.seekable:
                number: int | None = last + 1 if last + 1 < len(times_s) else None
            elif frame.pts is None:
                number = None
            else:
                number = nearest_frame(times_s, frame.pts * self._time_base - self._clock_s, last)
            if number is None:
                continue
            last = number
            yield number, None if frame.is_corrupt else frame

    def _unwanted(self, packet: "Packet[Any]") -> bool:
        """Whether a packet is a frame that nobody wants, before the last one wanted, and no other builds on it."""
        if not self._thins or not self._nal_length_bytes or packet.pts is None:
            return False
        if not stands_alone(memoryview(packet), self._nal_length_bytes):
            return False
        time_s = packet.pts * self._time_base - self._clock_s
        number = nearest_frame(self._video.frame_times_s, time_s, -1)
        return number is not None and number < self._last_wanted and number not in self._wanted


def _upright_rgb(frame: VideoFrame, video: VideoInfo) -> UInt8Array:
    """(H, W, 3) RGB as displayed; a frame of another size than the probed one is scaled to it."""
    turned = video.rotation_deg % 180 != 0
    width, height = (video.height, video.width) if turned else (video.width, video.height)
    stored = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.rot90(stored, -(video.rotation_deg // 90)).astype(np.uint8, copy=False)
