"""The child process and its pipes, seen from the parent: start, ask with a deadline, kill, say why it died."""

import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media import wire
from emolabel.media.shared import NOTHING, share_frames
from emolabel.types import UInt8Array

_PIPE_BYTES: Final = 1 << 20
_WATCH_S: Final = 0.5
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV")
_F_SETPIPE_SZ: Final = 1031
_COMPLAINT_CHARS: Final = 300


class KilledFromOutside(MediaError):
    """The kernel took the child for its memory, or somebody else did: the file may have had no part in it."""


class ChildProcess:
    """One decoding child. After any `MediaError` that `ask` raises by itself it is dead; make a new one.

    A fresh program, not a fork: nothing of the parent's memory, threads, file descriptors and secrets is in it, but the
    memory for frames that they share.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self.frames = share_frames(limits.batch_bytes)
        """What the child leaves there for whoever asks it for frames; None: they come as payload."""
        frames_fd = self.frames.fd if self.frames is not None else NOTHING
        child_requests, self._requests = os.pipe()
        self._replies, child_replies = os.pipe()
        self._complaints, child_stderr = os.pipe()
        for fd in (self._requests, self._replies, self._complaints, child_stderr):
            os.set_blocking(fd, False)  # stderr, too: a decoder that talks too much must not wait for a reader
        for fd in (self._requests, self._replies):
            _widen(fd)
        numbers = (child_requests, child_replies, self._complaints)
        arguments = (*numbers, frames_fd, os.getpid())
        command = [sys.executable, "-m", "emolabel.media.child", *map(str, arguments)]
        try:
            self._process = subprocess.Popen(
                [*command, json.dumps(asdict(limits))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=child_stderr,
                pass_fds=[fd for fd in (*numbers, frames_fd) if fd != NOTHING],
                cwd="/",  # else `-m` would let modules in the user's folder stand in for ours
                env=_environment(),
                start_new_session=True,
            )
        except BaseException:
            for fd in (self._requests, self._replies, self._complaints):
                os.close(fd)
            raise
        finally:
            for fd in (child_requests, child_replies, child_stderr, frames_fd):
                if fd != NOTHING:
                    os.close(fd)
        self._end = weakref.finalize(
            self, _end, os.getpid(), self._process, (self._requests, self._replies, self._complaints)
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._end.alive and self._process.poll() is None

    def close(self) -> None:
        """Kill it and collect it. Safe to call again."""
        self._end()

    def ask(
        self, header: Mapping[str, Any], payload: bytes, timeout_s: float, max_payload: int
    ) -> tuple[wire.Header, UInt8Array]:
        """Send a request and wait for its answer.

        Args:
            max_payload: bytes that the answer may bring; more is a sign of a child gone wrong.

        Returns:
            The answer's header, and its payload as (n,) bytes.

        Raises:
            MediaError: what the child says of the file; TIMEOUT, CRASHED or OUT_OF_MEMORY where it had to be
                killed or died.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self._send(wire.pack(header, len(payload)) + payload, deadline)
            n_header, n_payload = wire.PREFIX.unpack(self._receive(wire.PREFIX.size, deadline).tobytes())
            if n_header > wire.MAX_HEADER or n_payload > max_payload:
                raise ValueError("an answer of absurd size")
            answer = wire.unpack(self._receive(n_header, deadline).tobytes())
            bytes_ = self._receive(n_payload, deadline)
            error = wire.error_from_header(answer)
        except TimeoutError:
            self.close()
            raise MediaError(Status.TIMEOUT, f"decoding passed its deadline of {timeout_s:g} s") from None
        except _OverMemory:
            self.close()
            raise MediaError(Status.OUT_OF_MEMORY, self._memory_reason()) from None
        except (EOFError, BrokenPipeError):
            raise self._death() from None
        except (ValueError, KeyError, TypeError):
            self.close()
            raise MediaError(Status.CRASHED, "the decoder answered nonsense and was stopped") from None
        except BaseException:  # an interrupted exchange leaves half a message in the pipes
            self.close()
            raise
        if error is not None:
            raise error
        return answer, bytes_

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._requests, select.POLLOUT, deadline)
            try:
                view = view[os.write(self._requests, view) :]
            except BlockingIOError:
                continue

    def _receive(self, n_bytes: int, deadline: float) -> UInt8Array:
        data = np.empty(n_bytes, np.uint8)
        view = data.data
        while view:
            self._wait(self._replies, select.POLLIN, deadline)
            try:
                got = os.readv(self._replies, [view])
            except BlockingIOError:
                continue
            if got == 0:
                raise EOFError
            view = view[got:]
        return data

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            if poll.poll(min(left_s, _WATCH_S) * 1000):
                return
            self._watch_memory()

    def _watch_memory(self) -> None:
        """Catch what the child's own limit does not: mapped files, and systems without RLIMIT_DATA."""
        try:
            used = psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return
        if used > self._limits.memory_mb * 2**20:
            raise _OverMemory

    def _death(self) -> MediaError:
        """Why the child closed its pipes."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.close()
            return MediaError(Status.CRASHED, "the decoder stopped answering")
        words = self._last_words()
        self.close()
        if "bad_alloc" in words or "Cannot allocate memory" in words or "MemoryError" in words:
            return MediaError(Status.OUT_OF_MEMORY, self._memory_reason())
        if code == -signal.SIGKILL:
            reason = "the decoder was killed from outside, most likely for its memory"
            return KilledFromOutside(Status.OUT_OF_MEMORY, reason)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return MediaError(Status.CRASHED, f"the decoder crashed ({name})" + (f": {words}" if words else ""))

    def _last_words(self) -> str:
        try:
            text = os.read(self._complaints, 1 << 16)[-2048:].decode(errors="replace")
        except (BlockingIOError, OSError):
            return ""
        lines = ["".join(c for c in line if c.isprintable()).strip() for line in text.splitlines()]
        return next((line for line in reversed(lines) if line), "")[:_COMPLAINT_CHARS]

    def _memory_reason(self) -> str:
        return f"decoding needs more than its {self._limits.memory_mb} MB of memory"


class _OverMemory(Exception):
    """The child uses more than it may."""


def _end(owner: int, process: "subprocess.Popen[bytes]", fds: tuple[int, ...]) -> None:
    if os.getpid() != owner:  # a fork of the parent is leaving, not the parent
        return
    process.kill()
    process.wait()  # no zombie
    for fd in fds:
        os.close(fd)


def _environment() -> dict[str, str]:
    """Only what a program needs to start: no credentials, and nothing that would change how it decodes."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    root = Path(__file__).resolve().parents[2]
    paths = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    if root.name not in ("site-packages", "dist-packages"):  # run from a checkout, or shipped by Ray
        paths.insert(0, str(root))
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _widen(fd: int) -> None:
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:  # beyond what this user may have: the usual 64 KiB work, too
            return
