"""Messages between parent and child: a JSON header and raw bytes. Never pickles: a child that a file has taken over
must not be able to run code in its parent.

A message is `<4 bytes header length><8 bytes payload length><header><payload>`, little endian. Frames need not travel
with it (`emolabel.media.shared`).
"""

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from emolabel.errors import MediaError, Status
from emolabel.types import AudioInfo, Float64Array, MediaInfo, VideoInfo

PREFIX: Final = struct.Struct("<IQ")
MAX_HEADER: Final = 1 << 20

Header = dict[str, Any]


def pack(header: Mapping[str, Any], payload_bytes: int) -> bytes:
    """All of a message that goes before its payload."""
    text = json.dumps(header).encode("ascii")
    return PREFIX.pack(len(text), payload_bytes) + text


def unpack(text: bytes) -> Header:
    """A header from its JSON text.

    Raises:
        ValueError: it is not an object in JSON.
    """
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError(f"expected a JSON object, got {type(header).__name__}")
    return header


def info_to_header(info: MediaInfo) -> tuple[Header, Float64Array]:
    """A probe's result as a header, and the frame times apart: there may be millions."""
    video, audio = info.video, info.audio
    times = video.frame_times_s if video is not None else np.empty(0)
    header: Header = {
        "container": info.container,
        "duration_header_s": info.duration_header_s,
        "damage": info.damage,
        "video": None,
        "audio": None,
    }
    if video is not None:
        header["video"] = {
            "codec": video.codec,
            "width": video.width,
            "height": video.height,
            "rotation_deg": video.rotation_deg,
            "n_frames_header": video.n_frames_header,
            "end_s": video.end_s,
            "seekable": video.seekable,
            "starts_soundly": video.starts_soundly,
        }
    if audio is not None:
        header["audio"] = {
            "codec": audio.codec,
            "sample_rate_hz": audio.sample_rate_hz,
            "n_channels": audio.n_channels,
            "start_s": audio.start_s,
            "end_s": audio.end_s,
        }
    return header, np.ascontiguousarray(times)


def info_from_header(header: Header, frame_times_s: Float64Array) -> MediaInfo:
    """The reverse of `info_to_header`.

    Raises:
        KeyError, TypeError, ValueError: the header is not one.
    """
    video, audio = header["video"], header["audio"]
    return MediaInfo(
        container=str(header["container"]),
        duration_header_s=header["duration_header_s"],
        video=VideoInfo(frame_times_s=frame_times_s, **video) if video is not None else None,
        audio=AudioInfo(**audio) if audio is not None else None,
        damage=header["damage"],
    )


def error_to_header(error: MediaError) -> Header:
    return {"error": [error.status.value, error.reason]}


def error_from_header(header: Header) -> MediaError | None:
    """The error that a reply carries; None where it carries none.

    Raises:
        ValueError: it is not a known status.
    """
    if "error" not in header:
        return None
    status, reason = header["error"]
    return MediaError(Status(status), str(reason))
