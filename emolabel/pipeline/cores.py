"""A core of its own for each worker."""

import os
import socket

import ray

_held: list[socket.socket] = []


def settle_on_core() -> int | None:
    """`take_core`, where Ray gives out all of the cores that this process may use.

    With a quota instead of cores (Kubernetes), or on a machine that others use as well, all would take the same few.
    """
    if not hasattr(os, "sched_getaffinity"):  # only Linux has it
        return None
    return take_core() if _cpus_of_this_node() == len(os.sched_getaffinity(0)) else None


def take_core() -> int | None:
    """Bind this thread, with the threads and processes that it starts, to a core that nobody else has taken.

    A worker and its decoding child take turns. Where there are as many such pairs as cores, Linux now and then wakes
    one of a pair on the core of another pair, and takes milliseconds to find that its own is idle: two pairs on two
    cores lost a sixth of them (kernel 6.18).

    Returns:
        The core's number; None where all are taken: it stays free to move.
    """
    for core in sorted(os.sched_getaffinity(0)):
        # A name without a file: there once, and gone with its process, however that ends.
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0emolabel-core-{core}")
        except OSError:
            name.close()
            continue
        _held.append(name)
        os.sched_setaffinity(0, {core})
        return core
    return None


def _cpus_of_this_node() -> float:
    here = ray.get_runtime_context().get_node_id()
    return next((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["NodeID"] == here), 0.0)
