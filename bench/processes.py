"""Which processes of a run take how much memory and time."""

import subprocess
import time
from collections import defaultdict

import psutil
from rich.console import Console
from rich.table import Table

Seen = dict[str, dict[int, tuple[int, float]]]
"""By stage and process id: the peak resident bytes, and the CPU seconds."""

_STAGES = (
    *("PlanStage", "DecodeStage", "PredictStage", "emolabel.media.child", "emolabel annotate"),
    *("raylet", "gcs_server", "ray::IDLE", "dashboard", "SplitCoordinator", "ray::", "ray"),
)


def watch(command: list[str]) -> tuple[float, Seen]:
    """Run a command; seconds, and by stage and process id the peak resident bytes and the CPU seconds."""
    started = time.monotonic()
    job = subprocess.Popen(command)
    seen: Seen = defaultdict(dict)
    while job.poll() is None:
        for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
            try:
                name = " ".join(process.cmdline()).replace("-m emolabel", "emolabel")
                stage = next((stage for stage in _STAGES if stage in name), None)
                if stage is not None:
                    peak, _ = seen[stage].get(process.pid, (0, 0.0))
                    used = process.cpu_times()
                    seen[stage][process.pid] = (max(peak, process.memory_info().rss), used.user + used.system)
            except psutil.Error:
                continue  # it ended while we looked
        time.sleep(1)
    assert job.returncode == 0, f"the run failed with status {job.returncode}"
    return time.monotonic() - started, seen


def print_processes(console: Console, seconds: float, seen: Seen) -> None:
    """A line for each process, the stages in their order."""
    table = Table("process", "pid", "peak memory (MB)", "CPU seconds", "share of the run", box=None, pad_edge=False)
    for stage in _STAGES:
        for pid, (peak, cpu) in seen.get(stage, {}).items():
            table.add_row(stage, str(pid), f"{peak / 1e6:.0f}", f"{cpu:.0f}", f"{cpu / seconds:.0%}")
    console.print(table)
