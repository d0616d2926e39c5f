"""Stage plan: probe an input, cut it into windows, and the windows into chunks that workers share."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from emolabel.config import Settings
from emolabel.errors import CONTAINED, MediaError, Status, contained
from emolabel.media.isolate import IsolatedMedia
from emolabel.media.outline import ByteRange, outline_suffices
from emolabel.media.windows import cut_chunks, cut_windows
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.messages import Chunk, InputFacts, Source
from emolabel.pipeline.stretch import stretch_within
from emolabel.types import MediaInfo, Window


class LastProbed(IsolatedMedia):
    """Remembers its last probe: stretches of one file mostly follow each other, and a film takes seconds."""

    _last: tuple[tuple[str, int, int], MediaInfo] | None = None

    def probe(self, path: str) -> MediaInfo:
        """See `IsolatedMedia.probe`."""
        try:
            status = os.stat(path)
        except OSError:  # gone this moment: the probe says so in words
            return super().probe(path)
        version = path, status.st_mtime_ns, status.st_size
        if self._last is None or self._last[0] != version:
            self._last = version, super().probe(path)
        return self._last[1]


def plan_source(source: Source, files: LocalFiles, media: IsolatedMedia, settings: Settings) -> Iterator[Chunk]:
    """The chunks of one input: at least one, which has no windows where there is nothing (more) to label."""
    if source.status is not None:
        yield Chunk(source, InputFacts.failed(source, source.status, source.error))
        return
    try:
        info, outline = _probed(source, files, media)
        start_s, end_s, missing_part = stretch_within((source.start_s, source.end_s), info)
        windows = cut_windows(start_s, end_s, settings.windows)
        chunks = cut_chunks(windows, settings.chunk_s)
    except (MediaError, *CONTAINED) as error:
        failure = error if isinstance(error, MediaError) else contained(error)
        yield Chunk(source, InputFacts.failed(source, failure.status, failure.reason))
        return
    if not windows:
        reason = "nothing to label: the window settings drop the whole of it"
        yield Chunk(source, InputFacts.failed(source, Status.NO_SIGNAL, reason))
        return
    damage = "; ".join(text for text in (info.damage, missing_part) if text is not None) or None
    facts = replace(InputFacts.probed(source, info, len(windows)), duration_s=end_s - start_s, damage=damage)
    done = frozenset(source.done_windows)
    # What is done is left out of the chunks, not of their cutting: a run that goes on meets the same chunks.
    missing = [tuple(window for window in chunk if window.index not in done) for chunk in chunks]
    for part in [windows for windows in missing if windows] or [()]:
        ranges = _ranges(outline, part, media) if outline is not None and part else None
        outline = outline if ranges is not None else None  # what failed once is not asked for again
        yield Chunk(source, facts, part, info, ranges)


def _probed(source: Source, files: LocalFiles, media: IsolatedMedia) -> tuple[MediaInfo, str | None]:
    """What an input holds, and the outline of it which was enough to tell."""
    outline = files.outline(source)
    if outline is not None:
        with suppress(MediaError):  # the whole file shall say what is wrong with it
            info = media.probe(outline)
            if outline_suffices(info):
                return info, outline
    return media.probe(files.path(source)), None


def _ranges(outline: str, windows: tuple[Window, ...], media: IsolatedMedia) -> tuple[ByteRange, ...] | None:
    """The bytes that a worker has to fetch for some windows; None: all."""
    try:
        return tuple(media.extents(outline, windows[0].start_s, windows[-1].end_s))
    except (MediaError, *CONTAINED):
        return None
