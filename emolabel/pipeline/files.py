"""A local path for each input: the file itself, or a copy of a remote one in scratch space, whole or in part."""

import os
import shutil
import tempfile
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil
import pyarrow as pa

from emolabel.errors import MediaError, SourceError, Status
from emolabel.media.outline import HEAD_BYTES, ByteRange, outline
from emolabel.pipeline.locations import Kind, Location, locate
from emolabel.pipeline.messages import Source
from emolabel.pipeline.ranges import union, without

_PREFIX = "emolabel-"
_RETRY_PAUSES_S = (0.5, 2.0, 8.0)
_COPIES_KEPT = 2  # a worker goes through the chunks of one input in a row, rarely through those of three
_BLOCK_BYTES = 8 * 2**20

T = TypeVar("T")


@dataclass
class _Copy:
    """A sparse file of the remote one's size. What is not held yet is a hole, and reads as zeros."""

    path: Path
    size: int
    held: list[ByteRange] = field(default_factory=list)
    outline: list[ByteRange] | None = None
    outline_known: bool = False


class LocalFiles:
    """Hands out local paths and checks that the content is still what was listed. One per worker process.

    Args:
        head_bytes: of the packets of a remote MP4, what its outline brings along.
    """

    def __init__(self, head_bytes: int = HEAD_BYTES) -> None:
        self._head_bytes = head_bytes
        self._scratch: Path | None = None
        self._copies: OrderedDict[tuple[str, str], _Copy] = OrderedDict()

    def path(self, source: Source, ranges: Iterable[ByteRange] | None = None) -> str:
        """A path to read the input from, valid until two more remote inputs were asked for.

        Args:
            ranges: of a remote file, the bytes that have to be there beside its outline; None: all of them.

        Raises:
            MediaError: MISSING, DENIED, CHANGED, or UNAVAILABLE where the storage does not answer.
        """
        return _asked_again(source, partial(self._path, source, None if ranges is None else list(ranges)))

    def outline(self, source: Source) -> str | None:
        """A path to a copy that holds the outline of a remote file alone, see `emolabel.media.outline`.

        Returns:
            None where all of the file is wanted: it is local, or small, or of a kind without an outline.

        Raises:
            MediaError: as `path`.
        """
        return _asked_again(source, partial(self._outline, source))

    def close(self) -> None:
        """Remove the copies."""
        if self._scratch is not None:
            self._clean_up()
        self._scratch = None
        self._copies.clear()

    def _path(self, source: Source, ranges: list[ByteRange] | None) -> str:
        at = _checked(source)
        if at.local:
            return at.path
        copy = self._copy(source, at)
        held = self._outline_of(copy, at) if ranges is not None else None
        _fetch(at, copy, [(0, copy.size)] if held is None or ranges is None else [*held, *ranges])
        return str(copy.path)

    def _outline(self, source: Source) -> str | None:
        at = _checked(source)
        if at.local:
            return None
        copy = self._copy(source, at)
        ranges = self._outline_of(copy, at)
        if ranges is None:
            return None
        _fetch(at, copy, ranges)
        return str(copy.path)

    def _outline_of(self, copy: _Copy, at: Location) -> list[ByteRange] | None:
        if not copy.outline_known:
            if copy.size > 2 * self._head_bytes:  # of a smaller one nothing can be saved
                with at.filesystem.open_input_file(at.path) as remote:
                    copy.outline = outline(copy.size, lambda begin, n: remote.read_at(n, begin), self._head_bytes)
            copy.outline_known = True
        return copy.outline

    def _copy(self, source: Source, at: Location) -> _Copy:
        content = source.uri, source.version  # inputs may be stretches of one file
        if content in self._copies:
            self._copies.move_to_end(content)
            return self._copies[content]
        if self._scratch is None:
            _remove_orphans()
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
            self._clean_up = weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        while len(self._copies) >= _COPIES_KEPT:
            self._copies.popitem(last=False)[1].path.unlink(missing_ok=True)
        # The suffix stays: raw streams are known by it alone.
        local = self._scratch / f"{source.video_id}{Path(at.path).suffix[:16]}"
        local.touch()
        os.truncate(local, source.size_bytes or 0)
        self._copies[content] = _Copy(local, source.size_bytes or 0)
        return self._copies[content]


def _checked(source: Source) -> Location:
    """Where an input lies, if its content is still what was listed."""
    at = locate(source.uri)
    what = at.look()
    if what.kind is Kind.MISSING:
        raise MediaError(Status.MISSING, "no such file any more")
    if what.kind is Kind.DENIED:
        raise MediaError(Status.DENIED, "no permission to read it")
    if (what.version, what.size_bytes) != (source.version, source.size_bytes):
        raise MediaError(Status.CHANGED, "replaced while the job was running; run again to label the new content")
    return at


def _fetch(at: Location, copy: _Copy, wanted: Iterable[ByteRange]) -> None:
    missing = without(wanted, copy.held)
    if not missing:
        return
    with at.filesystem.open_input_file(at.path) as remote, open(copy.path, "r+b") as local:
        for start, stop in missing:
            for begin in range(start, min(stop, copy.size), _BLOCK_BYTES):
                n_bytes = min(_BLOCK_BYTES, stop - begin, copy.size - begin)
                block = remote.read_at(n_bytes, begin)
                if len(block) != n_bytes:
                    raise OSError(f"it ends after {begin + len(block)} of {copy.size} bytes")
                local.seek(begin)
                local.write(block)
                copy.held = union([*copy.held, (begin, begin + n_bytes)])


def _asked_again(source: Source, ask: Callable[[], T]) -> T:
    """What a storage answers, if not at once."""
    for pause_s in _RETRY_PAUSES_S:
        try:
            return ask()
        except (OSError, pa.ArrowException, SourceError):
            time.sleep(pause_s)
    try:
        return ask()
    except (OSError, pa.ArrowException, SourceError) as error:
        reason = str(error).replace(source.uri, source.input)
        raise MediaError(Status.UNAVAILABLE, f"the storage does not answer: {reason}") from error


def _remove_orphans() -> None:
    """Copies of workers that were killed before they could clean up."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
