"""The graph: plan, then decode with faces and, where it has no GPU, the model; on GPUs the model is a stage of its own.
Each stage is a pool of Ray actors, with Ray Data between them.

Each actor imports what its own stage needs: torch and its friends take seconds of every process that loads them.
"""

import logging
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from emolabel.config import Precision, Settings
from emolabel.media.isolate import IsolatedMedia
from emolabel.pipeline.clips import with_clips
from emolabel.pipeline.cluster import StageShares
from emolabel.pipeline.cores import settle_on_core
from emolabel.pipeline.devices import process_ends_with_its_device
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.messages import WindowResult, sources_of
from emolabel.pipeline.parcels import chunk_parcels, chunks_of, results_of, window_parcel
from emolabel.pipeline.plan import LastProbed, plan_source
from emolabel.pipeline.source_list import SourceList
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import InputSpec

if TYPE_CHECKING:
    from emolabel.models.packing import PackedBundle

_SOURCES_PER_BLOCK = 64
_PARCEL_S = 2.0
"""Seconds of video in a parcel of small inputs."""
_MANY_PARCEL_S = 20.0
_MANY_INPUTS = 50
"""With so many for each worker parcels are bigger: what they cost the driver shows, and an uneven end does not."""
_SCORED_AT_ONCE, _PICTURES_AT_ONCE = 4, 32
"""Windows that wait for the model together: one by one they would cost more, and many take much memory."""
_PICTURE_S = 0.5
_BATCHES_AT_ONCE = 4
"""For a GPU: while one is computed, the next is put together and sent."""
_REPORT_EVERY_S = 2.0
"""How long a worker gathers windows before it sends them. The driver has some milliseconds of work with what comes at
once, however many windows it is: so it is spared, and with it a cluster of many workers."""
_TASK_RETRIES = 1
"""Ray Data would try for ever: one video that kills its worker would keep the job from ever ending."""


def run_pipeline(
    sources: SourceList,
    bundle: "PackedBundle | None",
    spec: InputSpec,
    settings: Settings,
    stamp: RunStamp,
    shares: StageShares,
    *,
    device: str,
    detector_device: str,
    batch_size: int,
    together: bool = True,
) -> Generator[WindowResult, None, None]:
    """Label the sources; windows come back as they are finished, in any order.

    Without a bundle nothing is scored, and windows come with what a model of this spec would see and hear.

    A window whose worker dies is tried again once; then it is left out. A window may also come twice. Who takes the
    results makes up for both: it knows what it has, and asks again for what is missing.

    Args:
        together: small inputs share a task, and its fate; tasks share an actor's queue, scored windows
            a message, and what its death costs.
    """
    queued = 2 if together else 1
    parcel_s = _PARCEL_S if together else None
    scorer = None
    if bundle is not None:
        # A path on the driver means nothing on another node: the bundle travels as an object, once to each.
        scorer = partial(Scorer, ray.put(bundle), device, settings.precision, batch_size)
    apart = shares.n_predict > 0
    scores_itself = None if apart else scorer
    if together and scores_itself is not None and len(sources) >= _MANY_INPUTS * shares.n_decode:
        parcel_s = _MANY_PARCEL_S
    with _data_context():
        results = (
            ray.data.from_blocks(_blocks(sources, shares))
            .map_batches(
                PlanStage,
                fn_constructor_args=(settings, parcel_s),
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=shares.plan_cpus,
                max_task_retries=_TASK_RETRIES,
                compute=ActorPoolStrategy(size=shares.n_plan),
            )
            .map_batches(
                DecodeStage,
                fn_constructor_args=(
                    spec,
                    settings,
                    stamp,
                    detector_device,
                    scores_itself,
                    bundle is None,
                    together,
                    shares.fills_cores,
                ),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=shares.decode_cpus,
                num_gpus=shares.decode_gpus,
                max_task_retries=_TASK_RETRIES,
                # Chunks take seconds: a queue in front of one actor would leave others idle at the end.
                compute=ActorPoolStrategy(size=shares.n_decode, max_tasks_in_flight_per_actor=queued),
            )
        )
        if scorer is not None and apart:
            results = results.map_batches(
                PredictStage,
                fn_constructor_args=(scorer,),
                batch_size=_BATCHES_AT_ONCE * batch_size,
                batch_format="pyarrow",
                num_cpus=shares.predict_cpus,
                num_gpus=shares.predict_gpus,
                max_task_retries=_TASK_RETRIES,
                compute=ActorPoolStrategy(size=shares.n_predict, max_tasks_in_flight_per_actor=queued),
            )
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from results_of(batch)


class PlanStage:
    """Sources in, chunks out."""

    def __init__(self, settings: Settings, parcel_s: float | None) -> None:
        self._settings = settings
        self._parcel_s = parcel_s
        self._files = LocalFiles()
        self._media = LastProbed(settings.limits)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        chunks = (
            chunk
            for source in sources_of(batch)
            for chunk in plan_source(source, self._files, self._media, self._settings)
        )
        yield from chunk_parcels(chunks, self._parcel_s)


class DecodeStage:
    """Chunks in, their windows out: with scores, or with crops and sound for `PredictStage`, or with these `stored` as
    columns of the labels.
    """

    def __init__(
        self,
        spec: InputSpec,
        settings: Settings,
        stamp: RunStamp,
        detector_device: str,
        scorer: "Callable[[], Scorer] | None",
        stored: bool,
        gathers: bool,
        settles: bool,
    ) -> None:
        """Args:
        gathers: scored windows wait for others. One that kills this process would take those with it.
        settles: on a core, as each has one.
        """
        if settles:
            settle_on_core()
        from emolabel.faces.detect import build_detector
        from emolabel.pipeline.decode import DecodeTools, decode_chunk

        _one_thread()
        self._decode = decode_chunk
        self._scorer = scorer() if scorer is not None else None
        self._stored = stored
        self._gathers = gathers
        self._gather_s = 0.0
        self._tools = DecodeTools(
            files=LocalFiles(),
            media=IsolatedMedia(settings.limits),
            detector=build_detector(settings.faces, detector_device),
            spec=spec,
            settings=settings,
            stamp=stamp,
        )

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        with process_ends_with_its_device():
            chunks = chunks_of(batch)
            results = (result for chunk in chunks for result in self._decode(chunk, self._tools))
            if self._scorer is not None:
                lengths_s = (window.end_s - window.start_s for chunk in chunks for window in chunk.windows)
                at_once = _PICTURES_AT_ONCE if max(lengths_s, default=0) < _PICTURE_S else _SCORED_AT_ONCE
                yield from map(window_parcel, self._scored(results, self._scorer, at_once))
                return
            # Windows of a long chunk are big, and move on one by one.
            while some := list(islice(results, 1 if len(chunks) == 1 else None)):
                yield window_parcel([with_clips(result, self._tools.spec) for result in some] if self._stored else some)

    def _scored(self, results: Iterator[WindowResult], scorer: "Scorer", at_once: int) -> Iterator[list[WindowResult]]:
        """A few at a time through the model, and together on their way: the first at once, then all of two seconds."""
        ready: list[WindowResult] = []
        began = time.monotonic()
        while some := list(islice(results, at_once)):
            ready += scorer(some)
            if time.monotonic() - began >= self._gather_s:
                yield ready
                self._gather_s = _REPORT_EVERY_S if self._gathers else 0.0
                ready, began = [], time.monotonic()
        if ready:
            yield ready


class PredictStage:
    """Windows in, the same windows with scores out."""

    def __init__(self, scorer: "Callable[[], Scorer]") -> None:
        _one_thread()
        self._scorer = scorer()

    def __call__(self, batch: pa.Table) -> pa.Table:
        with process_ends_with_its_device():
            return window_parcel(self._scorer(results_of(batch)))


class Scorer:
    """The model, loaded in the process that makes this."""

    def __init__(
        self, bundle_ref: "ray.ObjectRef[PackedBundle]", device: str, precision: Precision, batch_size: int
    ) -> None:
        from emolabel.models.packing import unpack_model
        from emolabel.pipeline.predict import predict_windows

        self._predict = predict_windows
        self._model = unpack_model(ray.get(bundle_ref), device, precision)
        self._batch_size = batch_size

    def __call__(self, results: Sequence[WindowResult]) -> list[WindowResult]:
        """The same windows with scores."""
        return self._predict(results, self._model, self._batch_size)


def _one_thread() -> None:
    """Each actor owns a share of one core; torch would start a thread for every core of the machine."""
    import torch

    torch.set_num_threads(1)


def _blocks(sources: SourceList, shares: StageShares) -> list[pa.Table]:
    """Few sources to a block where there are few, so that the first chunks come soon and planning is shared."""
    size = max(1, min(_SOURCES_PER_BLOCK, len(sources) // (4 * shares.n_plan)))
    return list(sources.tables(size))


@contextmanager
def _data_context() -> Iterator[None]:
    """Ray Data's settings for this pipeline, put back afterwards: the process may be a notebook."""
    context = DataContext.get_current()
    ours: dict[str, Any] = {
        # A row is a block. Chunks of one long video then reach many workers (a repartition stage would do the same,
        # but asks for a whole CPU of its own), and crops move on as soon as there are some.
        "target_max_block_size": 1,
        "max_errored_blocks": -1,
        "enable_progress_bars": False,
    }
    before = {name: getattr(context, name) for name in ours}
    _set(context, ours)
    try:
        with warnings.catch_warnings(), _quiet(logging.getLogger("ray.data")):
            # Ray Data tells its users how to tune a pool that has fewer inputs than actors. Ours cannot.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"ray\.data\.")
            # `max_task_retries` has no named parameter yet.
            warnings.filterwarnings("ignore", message=".*ray_remote_args. is deprecated")
            yield
    finally:
        _set(context, before)


def _set(context: DataContext, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(context, name, value)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Tracebacks of tasks that are tried again go to Ray's log files, and not to the terminal."""
    consoles = [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
    before = [handler.level for handler in consoles]
    for handler in consoles:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(consoles, before, strict=True):
            handler.setLevel(level)
