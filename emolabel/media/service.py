"""What the decoding child answers. One request at a time, over two pipes, until the parent closes them.

| request | answer |
|---|---|
| `probe` path | a `MediaInfo`; payload: frame times |
| `open` path, info; payload: frame times | nothing |
| `frames`; payload: frame numbers | nothing: the first `next` decodes |
| `next` | number of frames, 0 at the end; payload: their numbers, then the frames, but where these are `shared` |
| `audio` path, info, first, n | runs, damage; payload: samples |
| `extents` path, start, end | payload: (K, 2) bytes from and to which the stretch lies in the file |
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media import wire
from emolabel.media.audio import SoundReader
from emolabel.media.extents import Extents
from emolabel.media.probe import probe_file
from emolabel.media.shared import FrameRoom
from emolabel.media.source import readable
from emolabel.media.video import FrameReader
from emolabel.types import AudioInfo, FrameBatch

Payload = tuple[memoryview, ...]


@dataclass
class _AtHand:
    """The file that was asked for last. What reads it stays open between requests, while the file stays the same."""

    version: tuple[object, ...]
    times: bytes = b""
    """The frame times that `pictures` goes by."""
    pictures: FrameReader | None = None
    sound: SoundReader | None = None
    sound_info: AudioInfo | None = None
    """What `sound` goes by."""
    extents: Extents | None = None

    def close(self) -> None:
        for reader in (self.pictures, self.sound):
            if reader is not None:
                reader.close()


class Service:
    """Answers one request at a time."""

    def __init__(self, limits: DecodeLimits, complaints_fd: int, room: FrameRoom) -> None:
        self._limits, self._complaints_fd, self._room = limits, complaints_fd, room
        self._file = _AtHand(())
        self._batches: Iterator[FrameBatch] | None = None
        self._answers: dict[str, Callable[[wire.Header, bytes], tuple[wire.Header, Payload]]] = {
            "probe": self._probe,
            "open": self._open,
            "frames": self._frames,
            "next": self._next,
            "audio": self._audio,
            "extents": self._byte_ranges,
        }

    def answer(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        """A reply's header and payload; a failure of the file is a reply, too."""
        self._drain_complaints()  # an unread, full pipe would swallow the words of the next crash
        try:
            return self._answers[request["do"]](request, payload)
        except MediaError as error:
            return wire.error_to_header(error), ()
        except MemoryError:
            self._forget()
            reason = f"decoding needs more than its {self._limits.memory_mb} MB of memory"
            return wire.error_to_header(MediaError(Status.OUT_OF_MEMORY, reason)), ()
        except OSError as error:  # the storage, in the middle of a file
            return wire.error_to_header(MediaError(Status.UNREADABLE, f"the storage fails: {readable(error)}")), ()
        except Exception as error:  # ours: the parent decides, and a job goes on
            reason = f"{type(error).__name__} in the decoding child: {readable(error)}"
            return wire.error_to_header(MediaError(Status.FAILED, reason)), ()

    def _drain_complaints(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._complaints_fd, 1 << 16)

    def _probe(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        header, times = wire.info_to_header(probe_file(request["path"], self._limits))
        return header, (_raw(times),)

    def _open(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        info = wire.info_from_header(request["info"], np.frombuffer(payload, np.float64))
        file = self._at_hand(request["path"])
        if file.pictures is None or file.times != payload:
            if file.pictures is not None:
                file.pictures.close()
                file.pictures = None
            file.pictures, file.times = FrameReader(request["path"], info, self._limits, self._room), payload
        return {}, ()

    def _frames(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        assert self._file.pictures is not None, "the parent opens a file before it asks for frames"
        self._batches = self._file.pictures.batches(np.frombuffer(payload, np.int64))
        return {}, ()

    def _next(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        if self._batches is None:
            raise MediaError(Status.CHANGED, "it changed while it was being read")
        batch = next(self._batches, None)
        if batch is None:
            return {"n": 0}, ()
        if self._room.holds(batch.frames):
            return {"n": len(batch.frames), "shared": True}, (_raw(batch.indices),)
        return {"n": len(batch.frames)}, (_raw(batch.indices), _raw(batch.frames))

    def _audio(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        info = AudioInfo(**request["audio"])
        file = self._at_hand(request["path"])
        sound, file.sound = file.sound, None
        if sound is None or file.sound_info != info:
            if sound is not None:
                sound.close()
            sound, file.sound_info = SoundReader(request["path"], info), info
        try:
            stretch = sound.stretch(request["first"], request["n"])
        except BaseException:
            sound.close()
            raise
        file.sound = sound
        return {"runs": stretch.runs, "damage": stretch.damage}, (_raw(stretch.samples),)

    def _byte_ranges(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        file = self._at_hand(request["path"])
        file.extents = file.extents or Extents(request["path"])
        ranges = file.extents.of(request["start_s"], request["end_s"])
        return {}, (_raw(np.array(ranges, np.int64)),)

    def _at_hand(self, path: str) -> _AtHand:
        version = (path, _content_version(path))
        if self._file.version != version:
            self._forget()
            self._file = _AtHand(version)
        return self._file

    def _forget(self) -> None:
        self._file.close()
        self._file, self._batches = _AtHand(()), None
        self._room.empty()
        give_memory_back()


def give_memory_back() -> None:
    """glibc keeps what was freed, in pieces; a closed reader's hundreds of megabytes are worth the asking."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another libc
            ctypes.CDLL(None).malloc_trim(0)


def _raw(array: npt.NDArray[Any]) -> memoryview:
    """An array's bytes, without a copy where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _content_version(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:  # opening it will say so in words
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read(fd: int, n_bytes: int) -> bytes | None:
    """Exactly `n_bytes`; None where the parent has closed the pipe."""
    parts: list[bytes] = []
    while n_bytes:
        part = os.read(fd, min(n_bytes, 1 << 20))
        if not part:
            return None
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def _write(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view[: 1 << 20]) :]


def serve(requests: int, replies: int, service: Service) -> None:
    """Answer until the parent goes."""
    while True:
        prefix = _read(requests, wire.PREFIX.size)
        if prefix is None:
            return
        n_header, n_payload = wire.PREFIX.unpack(prefix)
        text, payload = _read(requests, n_header), _read(requests, n_payload)
        if text is None or payload is None:
            return
        header, parts = service.answer(wire.unpack(text), payload)
        _write(replies, wire.pack(header, sum(part.nbytes for part in parts)))
        for part in parts:
            _write(replies, part)
