"""Memory in which a decoding child leaves frames for its parent: through a pipe each would be copied twice more.

The child can change them while they are read, and nothing else: they are pixels, and nothing is looked up by them. It
can make the memory neither smaller, which would be the parent's death, nor bigger.
"""

import fcntl
import mmap
import os
import sys
from contextlib import suppress

import numpy as np

from emolabel.types import UInt8Array

NOTHING = -1
"""In place of a file descriptor: this system has no such memory."""


class SharedFrames:
    """The parent's side.

    Raises:
        OSError: the system gives no such memory.
    """

    def __init__(self, n_bytes: int) -> None:
        if sys.platform != "linux":
            raise OSError("only Linux has it")
        self.fd = os.memfd_create("emolabel-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, n_bytes)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._memory = mmap.mmap(self.fd, n_bytes)
        except BaseException:
            os.close(self.fd)
            raise

    def first(self, n_bytes: int) -> UInt8Array:
        """(n_bytes,) as the child last left them, not a copy.

        Raises:
            ValueError: there are not so many.
        """
        return np.frombuffer(self._memory, np.uint8, n_bytes)


def share_frames(n_bytes: int) -> SharedFrames | None:
    """None where there is no such memory: frames then travel through the pipe."""
    try:
        return SharedFrames(n_bytes)
    except (AttributeError, OSError):  # not every Python was built where there is memfd_create
        return None


class FrameRoom:
    """The child's side: where the next batch goes. Without shared memory each gets an array of its own."""

    def __init__(self, fd: int = NOTHING) -> None:
        self._memory = mmap.mmap(fd, 0) if fd != NOTHING else None

    def array(self, shape: tuple[int, ...]) -> UInt8Array:
        """To be filled, here if it fits; what the last array held is lost."""
        n_bytes = int(np.prod(shape))
        if self._memory is None or n_bytes > len(self._memory):
            return np.empty(shape, np.uint8)
        return np.frombuffer(self._memory, np.uint8, n_bytes).reshape(shape)

    def holds(self, frames: UInt8Array) -> bool:
        """Whether an array lies here: the parent sees it, then."""
        return self._memory is not None and np.may_share_memory(frames, np.frombuffer(self._memory, np.uint8))

    def empty(self) -> None:
        """Give the memory back; it is still there to be written to."""
        if self._memory is not None and sys.platform == "linux":
            with suppress(OSError):
                self._memory.madvise(mmap.MADV_REMOVE)
