"""A real SLURM on this machine: a controller and two nodes, with its own keys, ports and folders."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from chaos.clusters import free_ports

PATH = os.environ["PATH"] + ":/usr/sbin"
DAEMONS = ("munged", "slurmctld", "slurmd")
_START_S = 60.0
_DONE = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"})

_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPort={controller_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=36000
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs=2 RealMemory=8000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs=2 RealMemory=8000 Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
"""Each node says that it has two CPUs and a GPU, whatever the machine has: jobs ask for one CPU of each."""


class SlurmPair:
    """Runs while the context lasts; jobs that are left at its end are cancelled."""

    def __init__(self, folder: Path) -> None:
        """Args:
        folder: for everything that SLURM writes.
        """
        self._folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))},
            "PATH": PATH,
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def __enter__(self) -> "SlurmPair":
        try:
            self._configure()
            self._start_munge()
            self._start("slurmctld", "-D", "-i")
            for node in ("n1", "n2"):
                self._start("slurmd", "-D", "-N", node)
            wait_for(self._is_idle, "two idle nodes", _START_S)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.command("scancel", "--user", getpass.getuser())
            wait_for(lambda: not self.command("squeue", "--noheader"), "the jobs' end", _START_S)
        finally:
            self._stop()

    def command(self, *command: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
        """Standard output of one of SLURM's commands."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self._environment | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def sbatch(self, arguments: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]) -> str:
        """Submit a job; returns its id."""
        return self.command("sbatch", "--parsable", *map(str, arguments), cwd=cwd, environment=environment).strip()

    def facts(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job: `JobState`, `Restarts`, `ExitCode`, ..."""
        text = self.command("scontrol", "show", "job", "--oneliner", job)
        return dict(field.split("=", 1) for field in text.split() if "=" in field)

    def wait_until_done(self, job: str, seconds: float) -> dict[str, str]:
        """The facts of a job that has ended for good."""
        wait_for(lambda: self.facts(job)["JobState"] in _DONE, f"the end of job {job}", seconds)
        return self.facts(job)

    def _configure(self) -> None:
        controller_port, port_1, port_2 = free_ports(3)
        configuration = _CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            folder=self._folder,
            controller_port=controller_port,
            port_1=port_1,
            port_2=port_2,
        )
        (self._folder / "state").mkdir()
        (self._folder / "slurm.conf").write_text(configuration)
        # A device that every machine has, in place of a GPU.
        (self._folder / "gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/zero\n")

    def _start_munge(self) -> None:
        key = self._folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(64))
        files = {"key-file": key.name, "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
        options = [f"--{option}={self._folder / name}" for option, name in files.items()]
        # Its other demands are for a machine's own munge: a user of its own, a folder in /run.
        socket_path = self._folder / "munge.socket"
        self._start("munged", "--foreground", "--force", f"--socket={socket_path}", *options)
        wait_for(socket_path.exists, "munge", _START_S)

    def _start(self, daemon: str, *options: str) -> None:
        program = shutil.which(daemon, path=PATH)
        assert program is not None, daemon
        # They end when the tests do, even if those are killed.
        command = ["setpriv", "--pdeathsig", "TERM", program, *options]
        with (self._folder / f"{daemon}-{len(self._daemons)}.log").open("wb") as log:
            self._daemons.append(subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT))

    def _is_idle(self) -> bool:
        logs = "\n".join(log.read_text() for log in self._folder.glob("*.log"))
        assert all(daemon.poll() is None for daemon in self._daemons), f"SLURM did not start:\n{logs}"
        found = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%T"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return found.stdout.split() == ["idle", "idle"]

    def _stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(timeout=30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.3)
