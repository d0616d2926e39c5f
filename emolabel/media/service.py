"""What the decoding child answers. One request at a time, over two pipes, until the parent closes them.

| request | answer |
|---|---|
| `probe` path | a `MediaInfo`; payload: frame times |
| `open` path, info; payload: frame times | nothing |
| `frames`; payload: frame numbers | nothing: the first `next` decodes |
| `next` | number of frames, 0 at the end; payload: their numbers, then the frames |
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
from emolabel.media.audio import decode_stretch
from emolabel.media.extents import Extents
from emolabel.media.probe import probe_file
from emolabel.media.source import readable
from emolabel.media.video import FrameReader
from emolabel.types import AudioInfo, FrameBatch

Payload = tuple[memoryview, ...]


@dataclass
class _Opened:
    """The file whose frames are being read, kept open between requests while it stays the same."""

    version: tuple[object, ...]
    reader: FrameReader


class Service:
    """Answers one request at a time."""

    def __init__(self, limits: DecodeLimits, complaints_fd: int) -> None:
        self._limits, self._complaints_fd = limits, complaints_fd
        self._opened: _Opened | None = None
        self._batches: Iterator[FrameBatch] = iter(())
        self._extents: tuple[tuple[object, ...], Extents] | None = None
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
        version = (request["path"], payload, _content_version(request["path"]))
        if self._opened is None or self._opened.version != version:
            self._forget()
            self._opened = _Opened(version, FrameReader(request["path"], info, self._limits))
        return {}, ()

    def _frames(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        assert self._opened is not None, "the parent opens a file before it asks for frames"
        self._batches = self._opened.reader.batches(np.frombuffer(payload, np.int64))
        return {}, ()

    def _next(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        batch = next(self._batches, None)
        if batch is None:
            return {"n": 0}, ()
        return {"n": len(batch.frames)}, (_raw(batch.indices), _raw(batch.frames))

    def _audio(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        info = AudioInfo(**request["audio"])
        stretch = decode_stretch(request["path"], info, request["first"], request["n"])
        return {"runs": stretch.runs, "damage": stretch.damage}, (_raw(stretch.samples),)

    def _byte_ranges(self, request: wire.Header, payload: bytes) -> tuple[wire.Header, Payload]:
        version = (request["path"], _content_version(request["path"]))
        if self._extents is None or self._extents[0] != version:
            self._extents = version, Extents(request["path"])
        ranges = self._extents[1].of(request["start_s"], request["end_s"])
        return {}, (_raw(np.array(ranges, np.int64)),)

    def _forget(self) -> None:
        if self._opened is not None:
            self._opened.reader.close()
        self._opened, self._batches = None, iter(())
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
