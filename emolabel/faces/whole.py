"""Pictures that are faces already, as those of FER-2013: each frame is its own face."""

import numpy as np

from emolabel.types import Detections, UInt8Array


class WholeFrame:
    """A `FaceDetector` that finds one face in each frame, and it fills the frame; its score is 1.

    A crop of that box is the frame itself, resized: there is nothing around it for a margin to add.
    """

    def detect(self, frames: UInt8Array) -> list[Detections]:
        """See `FaceDetector.detect`."""
        height, width = frames.shape[1:3]
        box = np.array([[0, 0, width, height]], np.float32)
        return [Detections(box, np.ones(1, np.float32)) for _ in frames]
