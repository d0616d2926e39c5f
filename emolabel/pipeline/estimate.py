"""`emolabel annotate --dry-run`: what would be done, and how long it is likely to take, from a small sample."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from emolabel.config import Settings
from emolabel.errors import Status
from emolabel.models.bundle import load_bundle
from emolabel.pipeline.annotate import RunOptions
from emolabel.pipeline.local import Annotator
from emolabel.pipeline.messages import Source
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.resume import check_fingerprint, fingerprint, read_finished
from emolabel.pipeline.sources import list_inputs

_PROBED = 20
_LABELLED = 3


@dataclass(frozen=True)
class Estimate:
    """What a run would do."""

    n_listed: int
    n_done: int
    n_todo: int
    n_skipped: int
    """Of those to do: not media by their name."""
    n_probed: int
    n_unreadable: int
    """Of the probed ones."""
    video_s: float
    """Of all inputs to do, reckoned from the probed ones."""
    n_windows: int
    window_cost_s: float
    """Seconds of one core for a window, measured on a few; 0 where none could be labelled."""
    workers: int

    @property
    def core_hours(self) -> float:
        """Hours of one core like those of this machine."""
        return self.n_windows * self.window_cost_s / 3600

    @property
    def wall_s(self) -> float:
        """Seconds that the run is likely to take, without start-up."""
        return self.n_windows * self.window_cost_s / self.workers


def estimate_run(inputs: Sequence[str], out: str, model: str, settings: Settings, options: RunOptions) -> Estimate:
    """Probe up to 20 inputs and label up to 3 windows on this machine; nothing is written.

    Raises:
        EmolabelError: as the run itself would.
    """
    folder = OutputFolder(out)
    listing = list_inputs(inputs, options.limit, folder.uri, options.shard)
    bundle = load_bundle(model)
    todo = listing.sources
    if not options.overwrite:
        check_fingerprint(folder, fingerprint(settings, bundle.name, bundle.sha256, listing.extra_schema))
        todo = read_finished(folder).missing(todo)
    media = [source for source in todo if source.status is None]
    torch.set_num_threads(1)  # as in a worker
    with Annotator(bundle, settings, "cpu", "cpu") as annotator:
        video_s, n_windows, costs, statuses = _sample(_spread(media, _PROBED), annotator)
    n_probed = sum(statuses.values())
    scale = len(media) / n_probed if n_probed else 0.0
    return Estimate(
        n_listed=len(listing.sources),
        n_done=len(listing.sources) - len(todo),
        n_todo=len(todo),
        n_skipped=sum(source.status is Status.SKIPPED for source in todo),
        n_probed=n_probed,
        n_unreadable=n_probed - statuses[None],
        video_s=video_s * scale,
        n_windows=round(n_windows * scale),
        window_cost_s=sum(costs) / len(costs) if costs else 0.0,
        workers=options.workers or os.cpu_count() or 1,
    )


def _sample(sources: Iterable[Source], annotator: Annotator) -> tuple[float, int, list[float], Counter[Status | None]]:
    """Seconds of video, windows, seconds per labelled window, and how many were probed with which result."""
    video_s, n_windows = 0.0, 0
    costs: list[float] = []
    statuses: Counter[Status | None] = Counter()
    for source in sources:
        chunk = next(iter(annotator.plan(source)))
        statuses[chunk.facts.status] += 1
        video_s += chunk.facts.duration_s or 0.0
        n_windows += chunk.facts.n_windows
        if chunk.windows and len(costs) < _LABELLED:
            if not costs:
                next(annotator.label(chunk))  # the first one warms up
            started = time.monotonic()
            next(annotator.label(chunk))
            costs.append(time.monotonic() - started)
    return video_s, n_windows, costs, statuses


def _spread(sources: Sequence[Source], n: int) -> list[Source]:
    """At most n of them, evenly over the list: neighbours in a listing are alike."""
    step = max(1, len(sources) / n)
    return [sources[int(i * step)] for i in range(min(n, len(sources)))]
