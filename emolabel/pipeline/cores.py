"""A core of its own for each worker."""

import os
import socket

import ray

NAME = "emolabel-core"
_held: list[socket.socket] = []


def settle_on_core(name: str = NAME) -> int | None:
    """`take_core`, where Ray gives out exactly the cores that this process may use.

    Where it has a quota instead (Kubernetes), this process sees all cores of the machine, and so do those of other
    pods: all would take the first few.
    """
    return take_core(name) if _cpus_of_this_node() == n_cores() else None


def take_core(name: str = NAME) -> int | None:
    """Bind this thread, with the threads and processes that it starts, to a core that nobody else has taken.

    A worker and its decoding child take turns. Where there are as many such pairs as cores, Linux now and then wakes
    one of a pair on the core of another pair, and takes milliseconds to find that its own is idle: two pairs on two
    cores lost a sixth of them (kernel 6.18).

    Args:
        name: under which cores are taken, on this machine or in this container.

    Returns:
        The core's number; None where all are taken, or where processes cannot be bound: it stays free to move.
    """
    if not hasattr(os, "sched_setaffinity"):  # only Linux has it
        return None
    for core in sorted(os.sched_getaffinity(0)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0{name}-{core}")  # no file: one process can have it, and loses it however it ends
            os.sched_setaffinity(0, {core})
        except OSError:
            claim.close()
            continue
        _held.append(claim)
        return core
    return None


def n_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpus_of_this_node() -> float:
    here = ray.get_runtime_context().get_node_id()
    return next((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["NodeID"] == here), 0.0)
