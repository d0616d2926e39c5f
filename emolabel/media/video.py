"""The frames asked for, by the best road, in batches. Runs in the child."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from emolabel.config import DecodeLimits
from emolabel.media.indexed import IndexedReader, RoadClosed
from emolabel.media.pictures import PictureReader
from emolabel.types import FrameBatch, Int64Array, MediaInfo


def _no_complaints() -> str:
    return ""


class FrameReader:
    """Frames of one file: decord where it can be trusted, PyAV elsewhere and from where decord fails.

    Args:
        info: what `probe_file` found in this very file.
        use_decord: False where decord has crashed on it, or hung.
        complaints: gives what decoders have written to stderr since the last call.
    """

    def __init__(
        self,
        path: str,
        info: MediaInfo,
        limits: DecodeLimits,
        *,
        use_decord: bool = True,
        complaints: Callable[[], str] = _no_complaints,
    ) -> None:
        if info.video is None:
            raise ValueError(f"expected a file with a picture, got {path}")
        self._path, self._limits, self._video = path, limits, info.video
        self._indexed: IndexedReader | None = None
        self._pictures: PictureReader | None = None
        if use_decord:
            with suppress(RoadClosed):
                self._indexed = IndexedReader(path, info, limits, complaints)

    @property
    def road(self) -> str:
        """`decord` or `pyav`: who decodes the next frame."""
        return "pyav" if self._indexed is None else "decord"

    def close(self) -> None:
        self._leave_decord()
        if self._pictures is not None:
            self._pictures.close()

    def batches(self, numbers: Int64Array) -> Iterator[FrameBatch]:
        """Decode the frames `numbers` (K,), ascending, in batches of at most `limits.batch_bytes`.

        A frame that cannot be decoded is left out, so batches may be shorter, or fewer.
        """
        n_frames = self._video.n_frames_content
        if len(numbers) and not (numbers[0] >= 0 and numbers[-1] < n_frames and np.all(np.diff(numbers) > 0)):
            raise ValueError(f"expected ascending frame numbers below {n_frames}, got {numbers}")
        size = max(1, self._limits.batch_bytes // (self._video.width * self._video.height * 3))
        for first in range(0, len(numbers), size):
            batch = self._batch(numbers[first : first + size])
            if len(batch.indices):
                yield batch

    def _batch(self, numbers: Int64Array) -> FrameBatch:
        if self._indexed is not None:
            try:
                return FrameBatch(numbers, self._indexed.pictures(numbers))
            except RoadClosed:
                self._leave_decord()
        if self._pictures is None:
            self._pictures = PictureReader(self._path, self._video, self._limits)
        frames = np.empty((len(numbers), self._video.height, self._video.width, 3), np.uint8)
        kept: list[int] = []
        for number in numbers.tolist():
            picture = self._pictures.picture(number)
            if picture is not None:
                frames[len(kept)] = picture
                kept.append(number)
        return FrameBatch(np.array(kept, np.int64), frames[: len(kept)])

    def _leave_decord(self) -> None:
        if self._indexed is not None:
            self._indexed.close()
            self._indexed = None
