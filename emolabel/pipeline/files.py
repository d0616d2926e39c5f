"""A local path for each input: the file itself, or a copy of a remote one in scratch space."""

import os
import shutil
import tempfile
import time
import weakref
from collections import OrderedDict
from pathlib import Path

import psutil
import pyarrow as pa
from pyarrow import fs

from emolabel.errors import MediaError, SourceError, Status
from emolabel.pipeline.locations import Kind, Location, locate
from emolabel.pipeline.messages import Source

_PREFIX = "emolabel-"
_RETRY_PAUSES_S = (0.5, 2.0, 8.0)
_COPIES_KEPT = 2  # a worker goes through the chunks of one input in a row, rarely through those of three


class LocalFiles:
    """Hands out local paths and checks that the content is still what was listed. One per worker process."""

    def __init__(self) -> None:
        self._scratch: Path | None = None
        self._copies: OrderedDict[tuple[str, str], Path] = OrderedDict()

    def path(self, source: Source) -> str:
        """A path to read the input from, valid until two more remote inputs were asked for.

        Raises:
            MediaError: MISSING, DENIED, CHANGED, or UNAVAILABLE where the storage does not answer.
        """
        for pause_s in _RETRY_PAUSES_S:
            try:
                return self._path(source)
            except (OSError, pa.ArrowException, SourceError):
                time.sleep(pause_s)
        try:
            return self._path(source)
        except (OSError, pa.ArrowException, SourceError) as error:
            reason = str(error).replace(source.uri, source.input)
            raise MediaError(Status.UNAVAILABLE, f"the storage does not answer: {reason}") from error

    def _path(self, source: Source) -> str:
        at = locate(source.uri)
        what = at.look()
        if what.kind is Kind.MISSING:
            raise MediaError(Status.MISSING, "no such file any more")
        if what.kind is Kind.DENIED:
            raise MediaError(Status.DENIED, "no permission to read it")
        if (what.version, what.size_bytes) != (source.version, source.size_bytes):
            raise MediaError(Status.CHANGED, "replaced while the job was running; run again to label the new content")
        return at.path if at.local else str(self._copy(source, at))

    def close(self) -> None:
        """Remove the copies."""
        if self._scratch is not None:
            self._clean_up()
        self._scratch = None
        self._copies.clear()

    def _copy(self, source: Source, at: Location) -> Path:
        content = source.uri, source.version  # inputs may be stretches of one file
        if content in self._copies:
            self._copies.move_to_end(content)
            return self._copies[content]
        if self._scratch is None:
            _remove_orphans()
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
            self._clean_up = weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        while len(self._copies) >= _COPIES_KEPT:
            self._copies.popitem(last=False)[1].unlink(missing_ok=True)
        # The suffix stays: raw streams are known by it alone.
        local = self._scratch / f"{source.video_id}{Path(at.path).suffix[:16]}"
        fs.copy_files(at.path, str(local), source_filesystem=at.filesystem, destination_filesystem=fs.LocalFileSystem())
        self._copies[content] = local
        return local


def _remove_orphans() -> None:
    """Copies of workers that were killed before they could clean up."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
