"""From where the tests submit their jobs, and what they look at."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.slurm.slurm_pair import SlurmPair, wait_for

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 900.0
TWO_NODES = ("--nodes=2", "--cpus-per-task=1")


@dataclass(frozen=True)
class Desk:
    """From where a test submits its jobs."""

    slurm: SlurmPair
    folder: Path
    node_disk: Path

    def submit(
        self,
        script: str,
        *arguments: str | Path,
        options: tuple[str, ...] = TWO_NODES,
        python: str | Path = sys.executable,
    ) -> str:
        """The job's id."""
        settings = {"EMOLABEL_HOME": ROOT, "EMOLABEL_TMP": self.node_disk, "EMOLABEL_PYTHON": python}
        environment = {name: str(value) for name, value in settings.items()}
        return self.slurm.sbatch([*options, ROOT / "jobs" / "slurm" / script, *arguments], self.folder, environment)

    def output(self, job: str) -> str:
        """What the job has said so far."""
        return "".join(path.read_text() for path in self.folder.glob(f"*-{job}.out"))

    def await_output(self, job: str, text: str) -> None:
        """Until the job says something."""
        wait_for(lambda: text in self.output(job) or self._has_failed(job), f"{text!r}", LONG_S)

    def await_work(self, job: str, is_there: Callable[[], object]) -> None:
        """Until something of the job's work is written."""
        wait_for(lambda: is_there() or self._has_failed(job), "the job's work", LONG_S)

    def finish(self, job: str, state: str = "COMPLETED") -> dict[str, str]:
        """The facts of a job that must end in this state, and leave nothing behind."""
        facts = self.slurm.wait_until_done(job, LONG_S)
        assert facts["JobState"] == state, self.output(job)
        wait_for(lambda: not self.folders(job), "an empty disk", 60)
        wait_for(lambda: not processes_of(job), "the end of its processes", 60)
        return facts

    def folders(self, job: str) -> list[Path]:
        """What the job has on the nodes' disks: its command's folder, and that of each node's Ray."""
        return [path for path in self.node_disk.iterdir() if path.name.split("-")[:2] == ["emo", job]]

    def _has_failed(self, job: str) -> bool:
        state = self.slurm.facts(job)["JobState"]
        assert state in ("PENDING", "RUNNING", "COMPLETING"), self.output(job)
        return False


def processes_of(job: str) -> list[psutil.Process]:
    """Processes whose command line names the job's folder on a node."""
    return [process for process in psutil.process_iter() if f"/emo-{job}-" in " ".join(command_line(process))]


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
