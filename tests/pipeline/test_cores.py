"""Each worker has a core of its own, where all cores are ours."""

import multiprocessing
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from emolabel.pipeline.cores import take_core

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds processes to cores")

Answer = tuple[int | None, list[int], list[int]]


@pytest.fixture
def cores() -> Iterator[list[int]]:
    """At most two, which processes that are started meanwhile may use."""
    before = os.sched_getaffinity(0)
    some = sorted(before)[:2]
    os.sched_setaffinity(0, some)
    yield some
    os.sched_setaffinity(0, before)


def take_and_wait(asked: Any, name: str) -> None:
    core = take_core(name)
    child = "import os; print(*os.sched_getaffinity(0))"
    printed = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    asked.send((core, sorted(os.sched_getaffinity(0)), [int(each) for each in printed.split()]))
    asked.recv()


class Takers:
    """Processes that take a core each, and keep it."""

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self._ends: list[Any] = []
        self._name = uuid.uuid4().hex  # other jobs, other tests take cores as well

    def start(self) -> Answer:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=take_and_wait, args=(theirs, self._name), daemon=True)
        process.start()
        theirs.close()
        self.processes.append(process)
        self._ends.append(ours)
        answer: Answer = ours.recv()
        return answer


@pytest.fixture
def takers(cores: list[int]) -> Iterator[Takers]:
    made = Takers()
    yield made
    for process in made.processes:
        process.kill()
        process.join()


def test_one_process_a_core_and_its_children_stay_there(takers: Takers, cores: list[int]) -> None:
    answers = [takers.start() for _ in cores]
    assert [core for core, _, _ in answers] == cores
    assert all(mine == child == [core] for core, mine, child in answers)
    assert takers.start() == (None, cores, cores)


def test_a_core_is_free_again_when_its_process_is_killed(takers: Takers, cores: list[int]) -> None:
    for core in cores:
        assert takers.start()[0] == core
    os.kill(takers.processes[0].pid, signal.SIGKILL)
    takers.processes[0].join()
    assert takers.start()[0] == cores[0]


_WORKERS = """
import os, ray, sys
from emolabel.pipeline.cores import settle_on_core
ray.init(address="local", num_cpus=int(sys.argv[1]), include_dashboard=False, log_to_driver=False,
         _node_ip_address="127.0.0.1")
NAME = sys.argv[2]
class Worker:
    def settle(self):
        return settle_on_core(NAME)
workers = [ray.remote(Worker).options(num_cpus=0).remote() for _ in os.sched_getaffinity(0)]
print(sorted(map(str, ray.get([worker.settle.remote() for worker in workers]))))
"""


@pytest.mark.ray
@pytest.mark.parametrize("more", [0, 1])
def test_workers_settle_only_where_ray_gives_out_all_cores_and_no_others(more: int, cores: list[int]) -> None:
    command = [sys.executable, "-c", _WORKERS, str(len(cores) + more), uuid.uuid4().hex]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = ["None"] * len(cores) if more else [str(core) for core in cores]
    assert done.stdout.splitlines()[-1] == str(sorted(expected))
