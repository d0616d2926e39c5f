"""Which bytes of a file hold the picture and sound of a stretch of time. Runs in the child."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from emolabel.errors import MediaError, Status
from emolabel.media.audio import PREROLL_S
from emolabel.media.outline import ByteRange
from emolabel.media.pictures import REORDERED
from emolabel.media.source import open_container
from emolabel.media.streams import best_audio, best_video, start_of_clock, time_base_of
from emolabel.media.timeline import seconds
from emolabel.types import Float64Array, Int64Array

_GAP_BYTES: Final = 2**18
"""What lies between two ranges is fetched rather than asked around."""


@dataclass(frozen=True, eq=False)
class _Packets:
    """Of one stream, in decoding order, as the container's index has them."""

    decoded_s: Float64Array
    """(N,) ascending times at which they go to the decoder: none is shown before that."""
    start: Int64Array
    stop: Int64Array
    key: npt.NDArray[np.bool_]

    @staticmethod
    def of(stream: VideoStream | AudioStream, clock_s: float) -> "_Packets":
        entries = list(stream.index_entries)
        if not entries:
            raise MediaError(Status.UNSUPPORTED, "no index says where its packets lie")
        ticks = np.array([entry.timestamp for entry in entries], np.int64)
        if np.any(np.diff(ticks) < 0):  # several segments in an edit list: packets are decoded more than once
            raise MediaError(Status.UNSUPPORTED, "its index goes back in time")
        start = np.array([entry.pos for entry in entries], np.int64)
        return _Packets(
            seconds(ticks, time_base_of(stream), clock_s),
            start,
            start + np.array([entry.size for entry in entries], np.int64),
            np.array([entry.is_keyframe for entry in entries], np.bool_),
        )

    def bytes_of(self, first: int, stop: int) -> Int64Array:
        """(K, 2) of the packets `[first, stop)`."""
        return np.stack([self.start[first:stop], self.stop[first:stop]], axis=1)


class Extents:
    """Where the packets of a file lie. Its outline (`emolabel.media.outline`) is enough.

    Raises:
        MediaError: as `open_container`; UNSUPPORTED where the container has no index, or one that is not in order.
    """

    def __init__(self, path: str) -> None:
        with open_container(path) as container:
            video, audio = best_video(container), best_audio(container)
            clock_s = start_of_clock(container)
            self._video = _Packets.of(video, clock_s) if video is not None else None
            self._audio = _Packets.of(audio, clock_s) if audio is not None else None

    def of(self, start_s: float, end_s: float, gap_bytes: int = _GAP_BYTES) -> list[ByteRange]:
        """Ascending ranges that hold what decoding `[start_s, end_s)` takes, key frames and lead-in included.

        Args:
            gap_bytes: ranges nearer to each other than this become one.
        """
        shown = [_shown(self._video, start_s, end_s)] if self._video is not None else []
        heard = [_heard(self._audio, start_s, end_s)] if self._audio is not None else []
        return _joined(np.concatenate(shown + heard), gap_bytes)


def _shown(packets: _Packets, start_s: float, end_s: float) -> Int64Array:
    """From the key frame that a seek may land on, to the last frame and those that may be held back for it.

    A seek aims `REORDERED` frames early, and a frame is decoded up to as many frames before it is shown.
    """
    first, stop = np.searchsorted(packets.decoded_s, (start_s, end_s), side="left")
    aim = max(int(first) - 2 * REORDERED - 1, 0)
    keys = np.flatnonzero(packets.key[: aim + 1])
    return packets.bytes_of(int(keys[-1]) if len(keys) else 0, int(stop) + REORDERED)


def _heard(packets: _Packets, start_s: float, end_s: float) -> Int64Array:
    around = (start_s - 3 * PREROLL_S, end_s + 3 * PREROLL_S)
    first, stop = np.searchsorted(packets.decoded_s, around, side="left")
    return packets.bytes_of(int(first), int(stop))


def _joined(parts: Int64Array, gap_bytes: int) -> list[ByteRange]:
    """Parts in any order as few ascending ranges."""
    if len(parts) == 0:
        return []
    parts = parts[np.argsort(parts[:, 0])]
    stops = np.maximum.accumulate(parts[:, 1])
    breaks = np.flatnonzero(parts[1:, 0] > stops[:-1] + gap_bytes)
    first, last = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(parts) - 1]])
    return [(int(parts[a, 0]), int(stops[b])) for a, b in zip(first, last, strict=True)]
