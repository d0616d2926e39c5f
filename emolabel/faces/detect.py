"""Face detectors, and which one some settings ask for."""

from typing import Protocol

from emolabel.config import FaceSettings
from emolabel.faces.cascade import MtcnnDetector
from emolabel.faces.follow import FollowingDetector
from emolabel.faces.whole import WholeFrame
from emolabel.types import Detections, UInt8Array


class FaceDetector(Protocol):
    """Finds faces in frames."""

    def detect(self, frames: UInt8Array) -> list[Detections]:
        """Faces of each frame, the biggest first.

        Args:
            frames: (T, H, W, 3) RGB, of one video and in order of time; T may be 0, H and W may be 1.

        Returns:
            T detections, boxes in pixels of these frames.
        """
        ...


def build_detector(settings: FaceSettings, device: str = "cpu") -> FaceDetector:
    """The detector that these settings ask for, its weights loaded, on a torch device."""
    if settings.mode == "whole":
        return WholeFrame()
    if settings.detect_every == 1:
        return MtcnnDetector(settings, device)
    return FollowingDetector(settings, device)
