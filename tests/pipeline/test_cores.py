"""Each worker has a core of its own, where all cores are ours."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from emolabel.pipeline.cores import take_core

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux binds processes to cores")

Answer = tuple[int | None, list[int], list[int]]


def take_and_wait(asked: Any) -> None:
    core = take_core()
    child = "import os; print(*os.sched_getaffinity(0))"
    printed = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    asked.send((core, sorted(os.sched_getaffinity(0)), [int(each) for each in printed.split()]))
    asked.recv()


class Takers:
    """Processes that take a core each, and keep it."""

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self._ends: list[Any] = []

    def start(self) -> Answer:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=take_and_wait, args=(theirs,), daemon=True)
        process.start()
        self.processes.append(process)
        self._ends.append(ours)
        answer: Answer = ours.recv()
        return answer


@pytest.fixture
def takers() -> Iterator[Takers]:
    made = Takers()
    yield made
    for process in made.processes:
        process.kill()
        process.join()


def test_one_process_a_core_and_its_children_stay_there(takers: Takers) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    answers = [takers.start() for _ in allowed]
    assert sorted(core for core, _, _ in answers if core is not None) == allowed
    assert all(mine == child == [core] for core, mine, child in answers)
    assert takers.start() == (None, allowed, allowed)


def test_a_core_is_free_again_when_its_process_is_killed(takers: Takers) -> None:
    cores = [takers.start()[0] for _ in os.sched_getaffinity(0)]
    os.kill(takers.processes[0].pid, signal.SIGKILL)
    takers.processes[0].join()
    assert takers.start()[0] == cores[0]


_WORKERS = """
import os, ray, sys
from emolabel.pipeline.cores import settle_on_core
ray.init(address="local", num_cpus=int(sys.argv[1]), include_dashboard=False, log_to_driver=False,
         _node_ip_address="127.0.0.1")
class Worker:
    def settle(self):
        return settle_on_core()
workers = [ray.remote(Worker).options(num_cpus=0).remote() for _ in os.sched_getaffinity(0)]
print(sorted(map(str, ray.get([worker.settle.remote() for worker in workers]))))
"""


@pytest.mark.parametrize("missing", [0, 1])
def test_workers_settle_only_where_ray_gives_out_all_cores(missing: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if missing and len(cores) == 1:
        pytest.skip("this machine has one core: there is nothing to leave out")
    command = [sys.executable, "-c", _WORKERS, str(len(cores) - missing)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = [str(core) for core in cores] if not missing else ["None"] * len(cores)
    assert done.stdout.splitlines()[-1] == str(sorted(expected))
