"""Opening one local file for decoding: checked first, then read by FFmpeg through our own file handle.

FFmpeg never gets a path, so it has nothing to derive another one from, and no protocol of its own.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import Final

import av
from av.container import InputContainer

from emolabel.errors import MediaError, Status
from emolabel.media.containers import FORMATS, HEAD_BYTES, is_mp4, picture_format, refuse_references

_READ_BYTES: Final = 256 * 1024
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str) -> FileIO:
    """Open a regular file for reading, without ever waiting for the other end of a pipe.

    Raises:
        MediaError: MISSING, DENIED, UNSUPPORTED (not a regular file) or UNREADABLE (the storage fails).
    """
    try:
        handle = FileIO(path, opener=_open_without_waiting)
    except OSError as error:
        raise _storage_error(error) from None
    mode = os.fstat(handle.fileno()).st_mode
    if not stat.S_ISREG(mode):
        handle.close()
        raise MediaError(Status.UNSUPPORTED, f"{_kind(mode)}, not a regular file")
    return handle


def read_head(handle: FileIO) -> bytes:
    """First bytes of a file, checked by `refuse_references`; the read position stays where it was."""
    try:
        head = os.pread(handle.fileno(), HEAD_BYTES, 0)
    except OSError as error:
        raise _storage_error(error) from None
    refuse_references(head)
    return head


@contextmanager
def open_container(path: str) -> Iterator[InputContainer]:
    """Open a media file with PyAV, confined to the allowed containers and to this one file.

    Raises:
        MediaError: as `open_regular` and `refuse_references`; UNREADABLE where FFmpeg finds no container in it,
            UNSUPPORTED where the container is not an allowed one.
    """
    with open_regular(path) as handle:
        head = read_head(handle)
        container = _open(handle, head)
        try:
            yield container
        finally:
            container.close()


def _open(handle: FileIO, head: bytes) -> InputContainer:
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    av.logging.set_level(av.logging.ERROR)  # only FFmpeg's log names the format that it refused
    try:
        with av.logging.Capture() as log:
            return av.open(
                handle,
                mode="r",
                format=picture_format(head),
                options=options,
                buffer_size=_READ_BYTES,
                metadata_errors="replace",
            )
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _open_error(error, head, [message for _, _, message in log], [name for _, name, _ in log]) from None
    finally:
        av.logging.set_level(None)


def _open_error(error: Exception, head: bytes, messages: list[str], names: list[str]) -> MediaError:
    for name, message in zip(names, messages, strict=True):
        if "not on whitelist" in message.lower():
            return MediaError(Status.UNSUPPORTED, f"its format ({name}) is not one that is taken")
    if isinstance(error, av.error.ArgumentError):
        return MediaError(Status.UNSUPPORTED, "its format is not one that is taken")
    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        return _storage_error(error)
    if is_mp4(head):
        reason = "an MP4 without a usable index (moov): cut short while it was recorded or copied, or damaged"
        return MediaError(Status.UNREADABLE, reason)
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError)):
        return MediaError(Status.UNREADABLE, "not a media file: FFmpeg finds no known container in it")
    return MediaError(Status.UNREADABLE, f"FFmpeg cannot open it: {readable(error)}")


def readable(error: BaseException) -> str:
    """What a library says of a failure, without error numbers, file names and addresses."""
    text = str(getattr(error, "strerror", None) or error)
    text = re.sub(r"\[Errno -?\d+\]\s*|0x[0-9a-f]+|; last error log:.*", "", text)
    text = re.sub(r":? *'[^']*'( returned -?\d+)?", "", text)
    return " ".join(text.split())[:200] or type(error).__name__


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def _kind(mode: int) -> str:
    return next((words for test, words in _KINDS if test(mode)), "something unknown")


def _storage_error(error: OSError) -> MediaError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return MediaError(Status.MISSING, "there is no such file")
    if error.errno in (errno.EACCES, errno.EPERM):
        return MediaError(Status.DENIED, "no permission to read it")
    if error.errno == errno.EISDIR:
        return MediaError(Status.UNSUPPORTED, "a folder, not a regular file")
    if error.errno == errno.ENXIO:  # what opening a socket, or a device that is not there, gives
        return MediaError(Status.UNSUPPORTED, "a socket or a device, not a regular file")
    return MediaError(Status.UNREADABLE, f"the storage fails: {error.strerror or type(error).__name__}")
