"""`emolabel annotate`, and what it shares with preparing: list, resume, run the pipeline, commit, sum up."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from emolabel import schema
from emolabel.config import Settings
from emolabel.errors import EmolabelError, SourceError, Status
from emolabel.models.bundle import LoadedBundle, load_bundle
from emolabel.models.packing import pack_bundle
from emolabel.pipeline.clips import STORED_SCHEMA, with_clips
from emolabel.pipeline.locations import redact
from emolabel.pipeline.messages import WindowResult
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.resume import check_fingerprint, fingerprint, read_finished
from emolabel.pipeline.retry import forget_failed, forget_incomplete, forget_superseded
from emolabel.pipeline.shard import ALL, Shard
from emolabel.pipeline.source_list import SourceList
from emolabel.pipeline.sources import Listing, list_inputs
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import InputSpec
from emolabel.version import __version__

if TYPE_CHECKING:
    from emolabel.pipeline.sink import Sink

Results = Generator[WindowResult, None, None]

NO_MODEL = "none"
"""The `model` of rows that no model has seen."""

_PASSES = 2
"""How often the pipeline is asked for what is missing: the engine leaves out what its workers die on."""
_FEW = 10
"""Inputs that may be given up after the last pass; or one in a hundred. More of them are no poison, but trouble."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; nothing here changes what its rows say."""

    device: str = "auto"
    """Of the model: `cpu`, `cuda`, or `auto` (a GPU where the cluster has one)."""
    detector_device: str = "cpu"
    batch_size: int = 16
    """Windows that go through the model at a time."""
    workers: int | None = None
    """None: one for each CPU of the cluster."""
    gpus: int | None = None
    """None: all that the cluster has."""
    address: str | None = None
    """Of the Ray cluster; None: `RAY_ADDRESS`, or an embedded local Ray."""
    limit: int | None = None
    shard: Shard = ALL
    """The part of the inputs that is taken."""
    overwrite: bool = False
    retry: frozenset[Status] = frozenset()
    """Failures of earlier runs that are tried again."""

    def __post_init__(self) -> None:
        from emolabel.errors import ConfigError

        if self.device not in ("auto", "cpu", "cuda") or self.detector_device not in ("cpu", "cuda"):
            raise ConfigError(f"a device is 'cpu' or 'cuda', got {self.device!r} and {self.detector_device!r}")
        if self.batch_size < 1:
            raise ConfigError(f"--batch-size must be at least 1, got {self.batch_size}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")


@dataclass
class Progress:
    """How far a run is; updated in place while it goes on, and complete when it has ended."""

    out: str
    model: str
    run_id: str
    n_inputs: int = 0
    """To do in this run."""
    n_done_before: int = 0
    """Inputs that earlier runs had finished."""
    n_failed_before: int = 0
    """Of those, inputs that could not be read, or not whole."""
    n_resumed: int = 0
    """Inputs of which earlier runs had finished a part."""
    n_duplicates: int = 0
    n_finished: int = 0
    n_windows: int = 0
    """Labelled, or failed, in this run."""
    video_s: float = 0.0
    """Length of the finished inputs."""
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    inputs: Counter[Status] = field(default_factory=Counter)
    """Inputs finished in this run, by status."""
    windows: Counter[Status] = field(default_factory=Counter)
    reasons: dict[Status, Counter[str]] = field(default_factory=dict)
    examples: dict[Status, str] = field(default_factory=dict)
    """One input of each status."""

    @property
    def n_failed(self) -> int:
        """Inputs of this run that could not be read, or not whole."""
        return sum(n for status, n in self.inputs.items() if status.failure)

    def take(self, result: WindowResult, finished: dict[str, Any] | None) -> None:
        """Count one result of the pipeline, and the input's row where it was the last one."""
        if result.window_index is not None:
            self.n_windows += 1
            self.windows.update(Status(status) for status in set(result.labels["status"].to_pylist()))
        if finished is not None:
            status = Status(finished["status"])
            self.n_finished += 1
            self.inputs[status] += 1
            self.video_s += finished["duration_s"] or 0.0
            self.examples.setdefault(status, finished["input"])
            if finished["error"]:
                self.reasons.setdefault(status, Counter())[finished["error"]] += 1
        self.seconds = time.monotonic() - self.started


@dataclass(frozen=True, eq=False)
class Job:
    """What becomes of the inputs."""

    spec: InputSpec
    settings: Settings
    bundle: LoadedBundle | None
    """None: what a model of this spec would see and hear is stored, and nothing is scored."""

    @property
    def model(self) -> str:
        """What rows say."""
        return self.bundle.name if self.bundle is not None else NO_MODEL

    @property
    def result_schema(self) -> pa.Schema:
        """Of a window's rows."""
        return schema.LABELS if self.bundle is not None else STORED_SCHEMA

    def stamp(self, run_id: str) -> RunStamp:
        """What rows say of a run."""
        return RunStamp(self.model, self.bundle.sha256 if self.bundle is not None else "", __version__, run_id)

    def fingerprint(self, extra: pa.Schema) -> dict[str, Any]:
        """See `resume.fingerprint`. A bundle's spec is a part of the bundle."""
        if self.bundle is not None:
            return fingerprint(self.settings, self.model, self.bundle.sha256, extra)
        return fingerprint(self.settings, self.model, "", extra) | {"spec": asdict(self.spec)}


def annotate_inputs(
    inputs: Sequence[str],
    out: str,
    model: str,
    settings: Settings,
    options: RunOptions,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Label every input and write the labels to `out`.

    Running it again with the same arguments finishes what is missing and repeats nothing.

    Args:
        inputs: see `sources.list_inputs`.
        out: folder or URI.
        model: name, folder or hub id of a bundle.
        on_progress: called after each window.

    Raises:
        EmolabelError: nothing could be started, or the job ended early. A file that fails is a row, not an error.
    """
    bundle = load_bundle(model)
    return carry_out(inputs, out, Job(bundle.model.input_spec, settings, bundle), options, on_progress)


def carry_out(
    inputs: Sequence[str], out: str, job: Job, options: RunOptions, on_progress: Callable[[Progress], None]
) -> Progress:
    """Do a job on every input. Arguments and errors as in `annotate_inputs`."""
    folder = OutputFolder(out)
    listing = list_inputs(inputs, options.limit, folder.uri, options.shard)
    clashes = sorted(set(listing.extra_schema.names) & set(job.result_schema.names))
    if clashes:
        raise SourceError(f"a manifest has columns that the output has too: {', '.join(clashes)}; rename them")
    folder.create()
    with folder.locked():
        if options.overwrite:
            folder.clear()
        run = check_fingerprint(folder, job.fingerprint(listing.extra_schema))
        forget_incomplete(folder)
        forget_superseded(folder, listing)
        if options.retry:
            forget_failed(folder, listing, options.retry)
        progress = Progress(out=folder.shown, model=job.model, run_id=uuid.uuid4().hex[:12])
        record = {
            "run_id": progress.run_id,
            "emolabel_version": __version__,
            "started": _now(),
            "inputs": [redact(argument) for argument in inputs],
            "n_listed": len(listing.sources),
        }
        _run(
            listing,
            job,
            folder,
            options,
            progress,
            on_progress,
            on_start=lambda: folder.write_run(run | {"runs": [*run["runs"], record]}),
        )
        if progress.n_inputs == 0:
            return progress
        ended = {"ended": _now(), "inputs_by_status": {str(status): n for status, n in progress.inputs.items()}}
        folder.write_run(run | {"runs": [*run["runs"], record | ended]})
    return progress


def _run(
    listing: Listing,
    job: Job,
    folder: OutputFolder,
    options: RunOptions,
    progress: Progress,
    on_progress: Callable[[Progress], None],
    on_start: Callable[[], None],
) -> None:
    finished = read_finished(folder)
    sources = finished.missing(listing.sources)
    progress.n_inputs = len(sources)
    progress.n_done_before = len(listing.sources) - len(sources)
    progress.n_failed_before = sum(video_id in finished.failed for video_id in listing.sources.ids())
    progress.n_resumed = sum(video_id in finished.started for video_id in sources.ids())
    progress.n_duplicates = listing.n_duplicates
    on_progress(progress)
    if not sources:
        return
    # Imported here: a run with nothing to do, or a wrong argument, should not wait for Ray.
    from emolabel.pipeline.build import run_pipeline
    from emolabel.pipeline.cluster import engine_errors, ray_session, share_cluster
    from emolabel.pipeline.decode import give_up
    from emolabel.pipeline.metrics import RunMetrics
    from emolabel.pipeline.sink import Sink

    stamp = job.stamp(progress.run_id)
    sink = Sink(folder, stamp, finished.started, listing.extras, listing.extra_schema, job.result_schema)
    with ray_session(options.address) as size, engine_errors():
        device = options.device if options.device != "auto" else ("cuda" if options.gpus or size.gpus >= 1 else "cpu")
        shares = share_cluster(size, options.workers, device, options.detector_device, options.gpus)
        on_start()

        ask = partial(
            run_pipeline,
            bundle=pack_bundle(job.bundle) if job.bundle is not None else None,
            spec=job.spec,
            settings=job.settings,
            stamp=stamp,
            shares=shares,
            device=device,
            detector_device=options.detector_device,
            # A window of a crowd is as big as many windows of one face.
            batch_size=options.batch_size if job.settings.faces.mode != "all" else -(-options.batch_size // 8),
        )

        def abandon(sources: SourceList) -> Results:
            for result in give_up(sources, job.settings, stamp):
                yield result if job.bundle is not None else with_clips(result, job.spec)

        metrics = RunMetrics()
        metrics.update(progress)
        try:
            for results in _passes(sources, sink, ask, abandon):
                # Closed, and not left to the garbage collector: the engine's thread would outlive its Ray session,
                # and start a new one, while the exception that stopped the run still holds the frames.
                with closing(results):
                    for result in results:
                        progress.take(result, sink.add(result))
                        metrics.update(progress)
                        on_progress(progress)
        finally:
            sink.flush()
            metrics.update(progress, at_once=True)


def _passes(
    sources: SourceList,
    sink: "Sink",
    ask: Callable[..., Results],
    give_up: Callable[[SourceList], Results],
) -> Iterator[Results]:
    """Ask the pipeline for what is missing until nothing is; then give up what no worker survives."""
    few = max(_FEW, len(sources) // 100)
    for i in range(_PASSES):
        # Not together again: small inputs that shared a task with one that kills its worker are not to blame.
        yield ask(sources, together=i == 0)
        sources = sink.unfinished(sources)
        if not sources:
            return
    if len(sources) > few:
        raise EmolabelError(f"{len(sources)} inputs did not come back from the cluster; run the same command again")
    yield give_up(sources)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
