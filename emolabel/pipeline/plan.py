"""Stage plan: probe an input, cut it into windows, and the windows into chunks that workers share."""

from collections.abc import Iterator

from emolabel.config import Settings
from emolabel.errors import CONTAINED, MediaError, Status, contained
from emolabel.media.isolate import IsolatedMedia
from emolabel.media.windows import cut_chunks, cut_windows
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.messages import Chunk, InputFacts, Source


def plan_source(source: Source, files: LocalFiles, media: IsolatedMedia, settings: Settings) -> Iterator[Chunk]:
    """The chunks of one input: at least one, which has no windows where there is nothing (more) to label."""
    if source.status is not None:
        yield Chunk(source, InputFacts.failed(source, source.status, source.error))
        return
    try:
        info = media.probe(files.path(source))
        windows = cut_windows(info.start_s, info.end_s, settings.windows)
        chunks = cut_chunks(windows, settings.chunk_s)
    except (MediaError, *CONTAINED) as error:
        failure = error if isinstance(error, MediaError) else contained(error)
        yield Chunk(source, InputFacts.failed(source, failure.status, failure.reason))
        return
    if not windows:
        reason = "nothing to label: the window settings drop the whole of it"
        yield Chunk(source, InputFacts.failed(source, Status.NO_SIGNAL, reason))
        return
    facts = InputFacts.probed(source, info, n_windows=len(windows))
    done = frozenset(source.done_windows)
    # What is done is left out of the chunks, not of their cutting: a run that goes on meets the same chunks.
    missing = [tuple(window for window in chunk if window.index not in done) for chunk in chunks]
    for chunk in [windows for windows in missing if windows] or [()]:
        yield Chunk(source, facts, chunk, info)
