"""The Ray cluster that a run uses, and how its stages share it."""

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

# Nobody asked us to report their use of Ray to its makers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray's C++ side writes to the terminal from behind our progress bar. Its log files have all of it anyway.
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray

from emolabel.errors import ConfigError, EmolabelError


@dataclass(frozen=True)
class ClusterSize:
    """What the cluster has now."""

    cpus: float
    gpus: float
    may_grow: bool = False
    """An autoscaler can bring more CPUs."""


@dataclass(frozen=True)
class StageShares:
    """Actors of each stage, and what each asks of the cluster."""

    n_plan: int
    plan_cpus: float
    n_decode: int
    decode_cpus: float
    decode_gpus: float
    n_predict: int
    """0: whoever decodes a window also scores it."""
    predict_cpus: float
    predict_gpus: float
    fills_cores: bool
    """A worker for each CPU and none more, and nothing beside them that computes."""


@contextmanager
def ray_session(address: str | None) -> Iterator[ClusterSize]:
    """Connect to a cluster, or start an embedded one for as long as the context lasts.

    Args:
        address: of the cluster (`auto`, `host:6379`); None: that of the environment (`RAY_ADDRESS`, set inside a
            submitted job), or else an embedded local Ray on this machine's cores. It announces itself on
            loopback alone and asks for a token; some of Ray's own ports listen on all interfaces all the same.

    Raises:
        EmolabelError: the cluster does not answer.
    """
    if ray.is_initialized():  # the caller's own session, in a notebook say: used, not ended
        yield _size()
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    local = address == "local"
    try:
        with _quiet_stderr(), _own_sigterm():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                # Without an address Ray announces itself to the whole network.
                **({"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if local else {}),
            )
    except Exception as error:  # Ray raises plain ones too, when a node does not start in time for instance
        raise EmolabelError(f"no Ray cluster answers at {address}: {error}") from error
    try:
        yield _size()
    finally:
        if local:
            _end_monitor()
        ray.shutdown()


def _end_monitor() -> None:
    """Of an embedded Ray, which nothing scales. `ray.shutdown` would ask it to end, and wait a second in vain."""
    with suppress(Exception):  # Ray tells its own libraries alone how, and may do it in another way tomorrow
        ray._private.worker._global_node.kill_monitor(check_alive=False)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """`ray.init` puts a handler of its own, under which the driver ends in a crash, over the one of our commands."""
    ours = signal.getsignal(signal.SIGTERM)
    yield
    if callable(ours) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Ray's C++ side announces its log level on the terminal, whatever that level is."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _size() -> ClusterSize:
    resources = ray.cluster_resources()
    cpus = resources.get("CPU", 0.0)
    # Ray tells its own libraries alone; None where there is no autoscaler.
    most = ray._private.state.state.get_max_resources_from_cluster_config() or {}
    return ClusterSize(cpus, resources.get("GPU", 0.0), may_grow=most.get("CPU", 0.0) > cpus)


def share_cluster(
    size: ClusterSize, workers: int | None, device: str, detector_device: str, gpus: int | None = None
) -> StageShares:
    """Divide a cluster between the stages.

    A worker is one decoding actor; without a GPU it runs the model, too, and has a core for itself. With GPUs there is
    one predicting actor for each. Planning takes little, and must always find a place: a stage that finds none would
    stall the rest.

    Args:
        workers: None: one for each CPU.
        device: `cpu` or `cuda`, of the model.
        detector_device: `cpu` or `cuda`, of the face detector.
        gpus: None: all that the cluster has.

    Raises:
        ConfigError: the cluster has nothing to run on, or not what was asked for.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    if gpus is not None and gpus < 1:
        raise ConfigError(f"--gpus must be at least 1, got {gpus}")
    if "cuda" in (device, detector_device) and size.gpus < 1 and workers is None and gpus is None:
        raise ConfigError("a GPU was asked for, but the cluster has none now: give --gpus, and it may grow to them")
    if workers is None and size.cpus < 1:
        raise ConfigError("the cluster has no CPU for work at this moment: give --workers, and it may grow to them")
    n_decode = workers or int(size.cpus)
    # Shares of a core, not threads: a small machine must fit all stages.
    unit = 1.0 if size.may_grow or not size.cpus else min(1.0, size.cpus / n_decode)
    on_gpu = device == "cuda"
    n_gpus = gpus or max(1, int(size.gpus))
    detector_gpus = 0.5 if detector_device == "cuda" else 0.0  # of all GPUs, for all detectors together
    model_gpus = (1.0 - detector_gpus) if on_gpu else 0.0
    return StageShares(
        n_plan=max(1, n_decode // 16),
        plan_cpus=_floor(0.1 * unit),
        n_decode=n_decode,
        decode_cpus=_floor((0.8 if on_gpu else 0.9) * unit),
        decode_gpus=_floor(detector_gpus * n_gpus / n_decode),
        n_predict=n_gpus if on_gpu else 0,
        predict_cpus=_floor(0.1 * unit) if on_gpu else 0.0,
        predict_gpus=model_gpus,
        fills_cores=n_decode == int(size.cpus) and not size.may_grow and device == detector_device == "cpu",
    )


def _floor(share: float) -> float:
    """To Ray's precision, downwards: shares a hair over a device would leave its last actor without a place."""
    return math.floor(share * 10_000) / 10_000


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turns a failure of Ray itself into one sentence; what was written before it stays, and a new run goes on."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error.__cause__ or error
        text = next((line for line in reversed(str(cause).splitlines()) if line.strip()), type(cause).__name__)
        raise EmolabelError(
            f"the cluster failed ({text}). Finished work is kept: run the same command again"
        ) from error
