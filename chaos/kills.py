"""SIGKILL for every process of a job, at random moments, on a cluster of several nodes.

Each round kills victims of one kind (the last round: of all kinds) while a job labels the clips. When the job dies,
or fails, the same command is run again until it succeeds. Then the output is set against that of an undisturbed run.
"""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count
from pathlib import Path

import psutil

from chaos.clusters import LoopbackCluster
from chaos.workload import Toll, arguments, compare, make_bundle, make_clips, total, windows_written

_ROOT = Path(__file__).resolve().parents[1]
_PATIENCE_S = 300.0
"""A job that takes longer, and twenty times as long as the undisturbed one, hangs."""
_MAX_ROUNDS_WITHOUT_KILL = 3
"""After so many, the rest of the kills of a kind is given up, and shows in the table as not made."""
_MAX_LAUNCHES_UNDISTURBED = 10
"""How often a job may fail, one time after another, without a kill in between."""
_PAUSE_S = (0.3, 6.0)
"""From one kill to the next; shortest and longest."""
_PAUSE_OF_DRIVERS_S = (0.3, 20.0)
"""Longer: some are to die after they have written something."""


class Victim(str, Enum):
    """Kinds of processes that a job needs."""

    DRIVER = "driver"
    CHILD = "decoding child"
    PLAN = "plan actor"
    DECODE = "decode actor"
    IDLE = "idle Ray worker"
    NODE = "whole node (raylet)"
    SUPERVISOR = "job supervisor"


_TITLES = {
    Victim.CHILD: "emolabel.media.child",
    Victim.PLAN: "ray::MapWorker(MapBatches(PlanStage",
    Victim.DECODE: "ray::MapWorker(MapBatches(DecodeStage",
    Victim.IDLE: "ray::IDLE",
    Victim.SUPERVISOR: "ray::JobSupervisor",
}
"""What the command line of a process holds."""


@dataclass(frozen=True)
class _Work:
    cluster: LoopbackCluster
    folder: Path
    videos: Path
    bundle: Path
    reference: Path
    patience_s: float
    haste: float

    def pause_s(self, victim: Victim, chance: random.Random) -> float:
        """Before the next kill."""
        pauses = _PAUSE_OF_DRIVERS_S if victim in (Victim.DRIVER, Victim.SUPERVISOR) else _PAUSE_S
        return self.haste * chance.uniform(*pauses)


class _Job:
    """One launch of the command, from a terminal or through `ray job submit`."""

    def __init__(self, work: _Work, out: Path, submitted: bool, log: Path) -> None:
        self._cluster, self.submitted, self._log = work.cluster, submitted, log
        command = arguments(work.videos, out, work.bundle)
        if submitted:
            ray = [str(Path(sys.executable).parent / "ray"), "job", "submit", f"--address={self._cluster.jobs_address}"]
            command = [*ray, "--", sys.executable, str(_ROOT / "jobs" / "annotate.py"), *command]
        else:
            command = [sys.executable, "-m", "emolabel", "annotate", *command, "--address", self._cluster.address]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=_ROOT,
                env=self._cluster.environment,
                start_new_session=True,
            )

    def victims(self, kind: Victim) -> list[psutil.Process]:
        """Processes of that kind that live now."""
        if kind is Victim.NODE:
            return self._cluster.worker_raylets()
        if kind is Victim.DRIVER and not self.submitted:
            return [psutil.Process(self.process.pid)] if self.process.poll() is None else []
        title = _TITLES.get(kind, "jobs/annotate.py")
        return [process for process in self._cluster.processes() if title in _title(process)]

    def text(self) -> str:
        """What it printed."""
        return self._log.read_text(errors="replace")


def run_kills(n_kills: int, n_files: int, seed: int, folder: Path) -> Iterator[Toll]:
    """A round for each kind of victim, with a ninth of the kills each, and one for all kinds mixed.

    Yields:
        A line of the table after each round.
    """
    chance = random.Random(seed)
    each = max(1, n_kills // (len(Victim) + 1))
    kinds = list(Victim)
    mixed = [kinds[i % len(kinds)] for i in range(max(0, n_kills - each * len(kinds)))]
    with LoopbackCluster(folder) as cluster:
        work = _begin(cluster, n_files, folder, haste=1.0)
        numbers = count()
        for kind in kinds:
            yield _until_killed(work, kind.value, [kind] * each, chance, numbers)
        if mixed:
            chance.shuffle(mixed)
            yield _until_killed(work, "any of these, mixed", mixed, chance, numbers)


def run_mixed(
    cluster: LoopbackCluster, victims: Sequence[Victim], n_files: int, seed: int, folder: Path, haste: float = 1.0
) -> Toll:
    """These kills in this order, in as few jobs as have time for them.

    Args:
        haste: by what the pauses from kill to kill are multiplied.
    """
    work = _begin(cluster, n_files, folder, haste)
    return _until_killed(work, "mixed", list(victims), random.Random(seed), count())


def _begin(cluster: LoopbackCluster, n_files: int, folder: Path, haste: float) -> _Work:
    """The clips, the model, and an undisturbed run.

    Raises:
        RuntimeError: it failed.
    """
    videos, bundle, reference = (folder / name for name in ("videos", "bundle", "undisturbed"))
    make_clips(videos, n_files)
    make_bundle(bundle)
    work = _Work(cluster, folder, videos, bundle, reference, _PATIENCE_S, haste)
    started = time.monotonic()
    job = _Job(work, reference, False, folder / "undisturbed.log")
    if job.process.wait() != 0:
        raise RuntimeError(f"the undisturbed run failed: {job.text()}")
    return replace(work, patience_s=max(_PATIENCE_S, 20 * (time.monotonic() - started)))


def _until_killed(work: _Work, name: str, todo: list[Victim], chance: random.Random, numbers: Iterator[int]) -> Toll:
    """Rounds, each with an output folder of its own, until all kills are made."""
    tolls, n_idle = list[Toll](), 0
    while todo and n_idle < _MAX_ROUNDS_WITHOUT_KILL:
        n_todo = len(todo)
        try:
            tolls.append(_round(work, name, todo, chance, work.folder / f"round-{next(numbers)}"))
        except _StuckError as error:
            tolls.append(Toll(name, injected=n_todo - len(todo), unclear=1, notes=(str(error),)))
        n_idle = 0 if len(todo) < n_todo else n_idle + 1
    notes = [f"{len(todo)} kills could not be made"] if todo else []
    return total(name, tolls).told(notes)


class _StuckError(Exception):
    """A job that neither ends nor recovers."""


def _round(work: _Work, name: str, todo: list[Victim], chance: random.Random, out: Path) -> Toll:
    """One output folder: the command again and again, until it succeeds. Takes the kills that it made from `todo`.

    Raises:
        _StuckError: it never does.
    """
    n_windows = len(windows_written(work.reference))
    first_written: dict[tuple[str, int], str] = {}
    killed, notes, n_undisturbed = 0, list[str](), 0
    for launch in count():
        before = windows_written(out)
        submitted = bool(todo) and (todo[0] is Victim.SUPERVISOR or chance.random() < 0.25)
        job = _Job(work, out, submitted, out.with_name(f"{out.name}-{launch}.log"))
        n_killed = _disturb(job, work, todo, chance)
        killed += n_killed
        for window, run_id in windows_written(out).items():
            first_written.setdefault(window, run_id)
        if job.process.returncode == 0:
            break
        n_undisturbed = 0 if n_killed else n_undisturbed + 1
        notes += [line for line in job.text().splitlines() if line.startswith("emolabel: ")]
        if n_undisturbed == _MAX_LAUNCHES_UNDISTURBED:
            raise _StuckError(f"the job does not recover: {job.text()}")
        time.sleep(1.0)  # a driver whose supervisor was killed ends a second after it
    labelled = re.search(r"^windows: (.*)$", job.text(), re.MULTILINE)
    n_labelled = sum(map(int, re.findall(r"\d+", labelled[1]))) if labelled else 0
    twice = n_labelled - (n_windows - len(before))
    written_again = sum(run_id != first_written[window] for window, run_id in windows_written(out).items())
    toll = compare(name, work.reference, out, injected=killed, wasted=max(0, twice) + written_again)
    return toll.told(notes)


def _disturb(job: _Job, work: _Work, todo: list[Victim], chance: random.Random) -> int:
    """Kill while the job runs; how often it did."""
    killed, deadline = 0, time.monotonic() + work.patience_s
    due: float | None = None
    while job.process.poll() is None:
        if time.monotonic() > deadline:
            job.process.kill()
            raise _StuckError(f"the job hangs: {job.text()}")
        time.sleep(0.1)
        if not todo:
            continue
        if due is None:
            if job.victims(Victim.PLAN) or job.victims(Victim.DECODE):
                due = time.monotonic() + work.pause_s(todo[0], chance)
            continue
        if time.monotonic() < due:
            continue
        victims = job.victims(todo[0])
        if victims and _kill(chance.choice(victims)):
            if todo.pop(0) is Victim.NODE:
                work.cluster.add_node()
            killed += 1
            due = time.monotonic() + work.pause_s(todo[0], chance) if todo else None
    return killed


def _kill(process: psutil.Process) -> bool:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
