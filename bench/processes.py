"""Which processes of a run take how much memory and time."""

import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field

import psutil
from rich.console import Console
from rich.table import Table

Seen = dict[str, dict[int, "Observed"]]
"""By stage and process id."""

_STAGES = (
    *("PlanStage", "DecodeStage", "PredictStage", "emolabel.media.child", "emolabel annotate"),
    *("raylet", "gcs_server", "ray::IDLE", "dashboard", "SplitCoordinator", "ray::", "ray"),
)


@dataclass
class Observed:
    """One process."""

    cpu_s: float = 0.0
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds from the start, and resident bytes."""

    def peak_mb(self, from_s: float, to_s: float) -> float:
        """The most memory within a part of the run."""
        return max((size for at_s, size in self.memory if from_s <= at_s < to_s), default=0) / 1e6


def watch(command: list[str]) -> tuple[float, Seen]:
    """Run a command, and look at its processes every second; seconds, and what was seen."""
    started = time.monotonic()
    job = subprocess.Popen(command)
    seen: Seen = defaultdict(lambda: defaultdict(Observed))
    while job.poll() is None:
        for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
            try:
                name = " ".join(process.cmdline()).replace("-m emolabel", "emolabel")
                stage = next((stage for stage in _STAGES if stage in name), None)
                if stage is not None:
                    used, size = process.cpu_times(), process.memory_info().rss
                    one = seen[stage][process.pid]
                    one.cpu_s = used.user + used.system
                    one.memory.append((time.monotonic() - started, size))
            except psutil.Error:
                continue  # it ended while we looked
        time.sleep(1)
    assert job.returncode == 0, f"the run failed with status {job.returncode}"
    return time.monotonic() - started, seen


def print_processes(console: Console, seconds: float, seen: Seen) -> None:
    """A line for each process, the stages in their order."""
    halves = "peak memory in the first half (MB)", "in the second"
    table = Table("process", "pid", *halves, "CPU seconds", "share of the run", box=None, pad_edge=False)
    for stage in _STAGES:
        for pid, one in seen.get(stage, {}).items():
            peaks = (f"{one.peak_mb(*part):.0f}" for part in ((0, seconds / 2), (seconds / 2, seconds)))
            table.add_row(stage, str(pid), *peaks, f"{one.cpu_s:.0f}", f"{one.cpu_s / seconds:.0%}")
    console.print(table)
