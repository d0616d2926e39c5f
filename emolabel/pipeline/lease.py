"""One writer at a time: a lock on local disks, a lease with a heartbeat in object stores, which have no locks."""

import fcntl
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
from pyarrow import fs

from emolabel.errors import OutputError

BEAT_S = 10.0
"""Seconds between two signs of life. A lease without one for three times as long is taken over."""


@contextmanager
def file_lock(path: str, shown: str) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends.

    Raises:
        OutputError: another process holds it.
        OSError: the file cannot be made.
    """
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(shown) from None
        yield


class ObjectLease:
    """A lease on an object: whoever wrote it last, and goes on writing it, owns the folder.

    Nothing depends on clocks agreeing: a newcomer watches whether the object changes.
    """

    def __init__(self, filesystem: fs.FileSystem, path: str, shown: str, beat_s: float = BEAT_S) -> None:
        self._filesystem, self._path, self._shown, self._beat_s = filesystem, path, shown, beat_s
        self._owner = uuid.uuid4().hex
        self._n_beats = 0
        self._stop = threading.Event()
        self._lost = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Own the lease, with a heartbeat in the background.

        Raises:
            OutputError: another job is alive.
            OSError, pyarrow.ArrowException: the store does not answer.
        """
        self._take()
        thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            with suppress(OSError, pa.ArrowException):
                if self._content().get("owner") == self._owner:
                    self._filesystem.delete_file(self._path)

    def check(self) -> None:
        """Call before every write.

        Raises:
            OutputError: another job has taken the folder over, because this one gave no sign of life for too long.
        """
        if self._lost:
            raise OutputError(f"another job has taken over {self._shown}: this one had been silent for too long")

    def _take(self) -> None:
        first = self._content()
        deadline = time.monotonic() + 3 * self._beat_s
        while first and time.monotonic() < deadline:
            time.sleep(self._beat_s / 2)
            now = self._content()
            if not now:
                break  # the other one has just ended
            if now != first:
                raise _busy(self._shown)
        self._beat()
        time.sleep(self._beat_s / 5)  # two newcomers at once: the later write stays
        if self._content().get("owner") != self._owner:
            raise _busy(self._shown)

    def _keep(self) -> None:
        while not self._stop.wait(self._beat_s):
            with suppress(OSError, pa.ArrowException):  # a store that does not answer cannot hear another job either
                if self._content().get("owner") not in (self._owner, None):
                    self._lost = True
                    return
                self._beat()

    def _beat(self) -> None:
        self._n_beats += 1
        with self._filesystem.open_output_stream(self._path) as stream:
            stream.write(json.dumps({"owner": self._owner, "beat": self._n_beats}).encode())

    def _content(self) -> dict[str, object]:
        if self._filesystem.get_file_info(self._path).type is not fs.FileType.File:
            return {}
        with self._filesystem.open_input_file(self._path) as stream:
            content = json.loads(stream.read())
        return content if isinstance(content, dict) else {}


def _busy(shown: str) -> OutputError:
    return OutputError(f"another job is writing to {shown}; wait for it, or choose another folder")
