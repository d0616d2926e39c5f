"""The frames asked for, in batches. Runs in the child."""

from collections.abc import Iterator

import numpy as np

from emolabel.config import DecodeLimits
from emolabel.media.pictures import PictureReader
from emolabel.media.shared import FrameRoom
from emolabel.types import FrameBatch, Int64Array, MediaInfo


class FrameReader:
    """Frames of one file by their number.

    Args:
        info: what `probe_file` found in this very file.
        room: where batches go; the next one is written over the last one.
    """

    def __init__(self, path: str, info: MediaInfo, limits: DecodeLimits, room: FrameRoom | None = None) -> None:
        if info.video is None:
            raise ValueError(f"expected a file with a picture, got {path}")
        self._limits, self._video = limits, info.video
        self._room = room or FrameRoom()
        self._pictures = PictureReader(path, info.video, limits)

    def close(self) -> None:
        self._pictures.close()

    def batches(self, numbers: Int64Array) -> Iterator[FrameBatch]:
        """Decode the frames `numbers` (K,), ascending, in batches of at most `limits.batch_bytes`.

        A frame that cannot be decoded is left out, so batches may be shorter, or fewer.
        """
        n_frames = self._video.n_frames_content
        if len(numbers) and not (numbers[0] >= 0 and numbers[-1] < n_frames and np.all(np.diff(numbers) > 0)):
            raise ValueError(f"expected ascending frame numbers below {n_frames}, got {numbers}")
        self._pictures.want(numbers)
        size = max(1, self._limits.batch_bytes // (self._video.width * self._video.height * 3))
        for first in range(0, len(numbers), size):
            batch = self._batch(numbers[first : first + size])
            if len(batch.indices):
                yield batch

    def _batch(self, numbers: Int64Array) -> FrameBatch:
        frames = self._room.array((len(numbers), self._video.height, self._video.width, 3))
        kept: list[int] = []
        for number in numbers.tolist():
            picture = self._pictures.picture(number)
            if picture is not None:
                frames[len(kept)] = picture
                kept.append(number)
        return FrameBatch(np.array(kept, np.int64), frames[: len(kept)])
