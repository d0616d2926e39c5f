"""Where files lie: local paths and URIs of object stores, and what is there now."""

import os
import re
import stat
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import quote, unquote_to_bytes

import pyarrow as pa
from pyarrow import fs

from emolabel.errors import SourceError


class Kind(Enum):
    """What a place holds."""

    FILE = "a file"
    FOLDER = "a folder"
    OTHER = "a pipe or device"
    MISSING = "nothing"
    DENIED = "something we may not look at"


@dataclass(frozen=True)
class Found:
    """What a place holds now."""

    kind: Kind
    size_bytes: int | None = None
    version: str = ""
    """Changes with the content: the modification time."""


@dataclass(frozen=True)
class Location:
    """A place in a file system."""

    filesystem: fs.FileSystem
    path: str
    """Inside the file system. A local one may hold bytes that are no UTF-8, as Python's surrogate escapes."""
    before: str = ""
    """What stands before a path in a URI of this file system; empty for local paths."""
    after: str = ""
    """The query of the URI, which may hold an endpoint or credentials."""

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def uri(self) -> str:
        """What `locate` takes. A plain path on local disks, unless its name is no text."""
        if not self.local:
            return f"{self.before}{quote(self.path)}{self.after}"
        return self.path if _is_text(self.path) else f"file://{quote(os.fsencode(self.path))}"

    @property
    def shown(self) -> str:
        """For people: no credentials, and what is no text escaped."""
        if not self.local:
            return redact(self.uri)
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    def at(self, path: str) -> "Location":
        """Another path in the same file system."""
        return replace(self, path=path)

    def look(self) -> Found:
        """What is there now.

        Raises:
            OSError, pyarrow.ArrowException: the storage does not answer.
        """
        if not self.local:
            return found(self.filesystem.get_file_info(self.path))
        try:
            status = os.stat(self.path)
        except PermissionError:
            return Found(Kind.DENIED)
        except (OSError, ValueError):  # also a loop of links, a name that is too long, one with a null character
            return Found(Kind.MISSING)
        if stat.S_ISREG(status.st_mode):
            return Found(Kind.FILE, status.st_size, str(status.st_mtime_ns))
        return Found(Kind.FOLDER if stat.S_ISDIR(status.st_mode) else Kind.OTHER)


def found(info: fs.FileInfo) -> Found:
    """What an object store says of a path."""
    if info.type is fs.FileType.NotFound:
        return Found(Kind.MISSING)
    if info.type is not fs.FileType.File:
        return Found(Kind.FOLDER if info.type is fs.FileType.Directory else Kind.OTHER)
    # Whole seconds: some stores give fractions in a listing, and none when asked for one object.
    return Found(Kind.FILE, info.size, "" if info.mtime is None else str(int(info.mtime.timestamp())))


def locate(uri: str) -> Location:
    """The file system of a URI or local path, and the path inside it.

    Raises:
        SourceError: no such file system, or it refuses.
    """
    if uri.startswith("file://"):
        uri = os.fsdecode(unquote_to_bytes(uri.removeprefix("file://").removeprefix("localhost")))
    elif "://" in uri:
        return _remote(uri)
    return Location(fs.LocalFileSystem(), os.path.abspath(uri))


def _remote(uri: str) -> Location:
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, ValueError, OSError) as error:
        scheme, _, rest = uri.partition("://")
        # It could not be parsed, so nothing in front of an @ can be trusted to be no secret.
        shown = redact(f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else uri)
        raise SourceError(f"cannot open {shown}: {str(error).replace(uri, shown)}") from None
    head, question, query = uri.partition("?")
    ends = path and head.endswith(quote(path))
    before = head[: -len(quote(path))] if ends else head.partition("://")[0] + "://"
    return Location(filesystem, path, before, question + query)


def redact(uri: str) -> str:
    """The URI without credentials: neither in front of the host nor in the query.

    >>> redact("s3://key:secret@bucket/a.mp4")
    's3://***@bucket/a.mp4'
    >>> redact("https://host/a.mp4?X-Amz-Signature=abc")
    'https://host/a.mp4?***'
    """
    if "://" not in uri:
        return uri
    uri = re.sub(r"(?<=://)[^/@?#]*@", "***@", uri)
    return re.sub(r"\?.+$", "?***", uri, flags=re.DOTALL)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in path
