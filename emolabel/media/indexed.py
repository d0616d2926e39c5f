"""The decord road to a video's frames: by index, for files that it is known to read rightly. Runs in the child.

decord 0.6.0 is quick to reach a frame, and unmaintained. Where it is wrong, it is so silently: it repeats a
neighbour for a frame that does not decode, and counts frames that an edit list hides. So its count and its times
must agree with the probe, and a word from its decoder ends the road. What it does right: it turns frames upright by
the rotation tag, as PyAV does not.
"""

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Final

import numpy as np

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError
from emolabel.media.containers import decord_may_read
from emolabel.media.source import open_regular, read_head
from emolabel.types import Int64Array, MediaInfo, UInt8Array

_TIME_TOLERANCE_S: Final = 2e-3
_FLOAT32_STEP: Final = 2.0**-22  # decord gives times as float32


class RoadClosed(Exception):
    """decord cannot be trusted with this file."""


class IndexedReader:
    """Frames of one file by their number, through decord.

    Args:
        complaints: gives what decoders have written to stderr since the last call.

    Raises:
        RoadClosed: decord is not there, may not read this file, cannot, or sees it differently from the probe.
        MediaError: the file cannot be opened any more.
    """

    def __init__(self, path: str, info: MediaInfo, limits: DecodeLimits, complaints: Callable[[], str]) -> None:
        assert info.video is not None, "only asked for files with a picture"
        self._video, self._complaints = info.video, complaints
        if info.damage is not None or not self._video.seekable:
            raise RoadClosed("decord hides damage")
        decord = _decord()
        self._handle = open_regular(path)
        try:
            if not decord_may_read(info.container, self._video.codec, read_head(self._handle)):
                raise RoadClosed("not a file for decord")
            complaints()
            self._reader = decord.VideoReader(self._name(path), num_threads=limits.threads)
            self._check_times()
        except (RoadClosed, MediaError):
            self.close()
            raise
        except (decord.DECORDError, RuntimeError) as error:
            self.close()
            raise RoadClosed(str(error)) from None

    def close(self) -> None:
        self._reader = None
        self._handle.close()

    def pictures(self, numbers: Int64Array) -> UInt8Array:
        """(T, H, W, 3) upright RGB of the frames `numbers` (T,), ascending.

        Raises:
            RoadClosed: decord fails, or its decoder complained, so that repeats may stand in for frames.
        """
        try:
            frames: UInt8Array = self._reader.get_batch(numbers).asnumpy()
        except (_decord().DECORDError, IndexError) as error:
            raise RoadClosed(str(error)) from None
        complaint = self._complaints()
        if complaint:
            raise RoadClosed(complaint)
        if frames.shape != (len(numbers), self._video.height, self._video.width, 3):
            raise RoadClosed(f"frames of another shape: {frames.shape}")
        return frames

    def _name(self, path: str) -> str:
        """The file that we have opened and looked at, whatever stands at its path by now."""
        return f"/proc/self/fd/{self._handle.fileno()}" if sys.platform == "linux" else os.path.abspath(path)

    def _check_times(self) -> None:
        ours = self._video.frame_times_s
        if len(self._reader) != len(ours):
            raise RoadClosed(f"decord counts {len(self._reader)} frames, the content has {len(ours)}")
        theirs = self._reader.get_frame_timestamp(np.arange(len(ours)))[:, 0].astype(np.float64)
        error = np.abs((theirs - theirs[0]) - (ours - ours[0]))
        if np.any(error > _TIME_TOLERANCE_S + ours * _FLOAT32_STEP):
            raise RoadClosed("decord gives other times")


def _decord() -> ModuleType:
    """decord, made to log decoding errors: its only sign that a frame is not the one asked for."""
    try:
        import decord  # not on all platforms, and slow to start: only the child that needs it pays
        from decord._ffi.base import DECORDError
    except (ImportError, OSError) as error:
        raise RoadClosed(f"decord is not installed: {error}") from None
    decord.logging.set_level(decord.logging.ERROR)
    decord.DECORDError = DECORDError
    module: ModuleType = decord
    return module
