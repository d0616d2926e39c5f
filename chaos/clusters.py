"""A Ray cluster of several nodes on this machine, whose processes may be killed one by one."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

_RAY = Path(sys.executable).parent / "ray"
_START_S, _STOP_S, _TRIES = 120.0, 5.0, 3
_STORE_BYTES = 200_000_000


@dataclass(frozen=True)
class _Node:
    process: "subprocess.Popen[bytes]"
    log: Path
    metrics_port: int

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_S
        while "Ray runtime started" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a node did not start: {self.log.read_text()}")
            time.sleep(0.1)


class LoopbackCluster:
    """A head without CPUs, and worker nodes of one CPU each: separate raylets, on loopback, behind a token.

    Each node is a `ray start --block`, which takes its processes along when it ends.
    """

    def __init__(self, folder: Path, n_workers: int = 2) -> None:
        """Args:
        folder: for the nodes' output.
        """
        self._folder, self._n_workers = folder, n_workers
        self._nodes: list[_Node] = []
        self._n_launched = 0
        gcs, self._dashboard = free_ports(2)
        self.address = f"127.0.0.1:{gcs}"
        self.jobs_address = f"http://127.0.0.1:{self._dashboard}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else workers stand back behind all that the machine does
            # A dead node is noticed after two seconds instead of half a minute: the clips are short.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "2",
        }

    def __enter__(self) -> "LoopbackCluster":
        try:
            port = self.address.rpartition(":")[2]
            dashboard = ["--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard}"]
            client = f"--ray-client-server-port={free_ports(1)[0]}"
            self._start(["--head", f"--port={port}", "--num-cpus=0", client, *dashboard])
            self._start(self._worker, n=self._n_workers)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def add_node(self) -> None:
        """One more worker node of one CPU."""
        self._start(self._worker)

    def processes(self) -> list[psutil.Process]:
        """Every process of every node that runs."""
        found: list[psutil.Process] = []
        for node in self._nodes:
            try:
                found += psutil.Process(node.process.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                continue
        return found

    def worker_raylets(self) -> list[psutil.Process]:
        """The raylets of the nodes that work; not that of the head."""
        _head, *workers = self._nodes
        ids = {node.process.pid for node in workers}
        return [process for process in self.processes() if process.name() == "raylet" and process.ppid() in ids]

    def metrics_urls(self) -> list[str]:
        """Where each node tells Prometheus of itself and of what runs on it; the head's is the first."""
        return [f"http://127.0.0.1:{node.metrics_port}/metrics" for node in self._nodes]

    @property
    def _worker(self) -> list[str]:
        return [f"--address={self.address}", "--num-cpus=1"]

    def _start(self, options: Sequence[str], n: int = 1) -> None:
        """Start nodes of one kind side by side.

        Raises:
            RuntimeError: one did not come up.
        """
        for node in [self._launch(options) for _ in range(n)]:
            for _ in range(_TRIES - 1):
                try:
                    node.wait_until_up()
                    break
                except RuntimeError:  # Ray itself gives a node half a minute, which a busy machine may pass
                    node.process.terminate()
                    self._nodes.remove(node)
                    node = self._launch(options)
            else:
                node.wait_until_up()

    def _launch(self, options: Sequence[str]) -> _Node:
        self._n_launched += 1
        log = self._folder / f"node-{self._n_launched}.log"
        agent_port, metrics_port = free_ports(2)
        command = [str(_RAY), "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats", *options]
        # Nodes of one machine would else claim the same ports.
        command += [f"--dashboard-agent-listen-port={agent_port}", f"--metrics-export-port={metrics_port}"]
        command += ["--min-worker-port=0", "--max-worker-port=0"]
        command += [f"--object-store-memory={_STORE_BYTES}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=self.environment, start_new_session=True
            )
        self._nodes.append(_Node(process, log, metrics_port))
        return self._nodes[-1]

    def _stop(self) -> None:
        everything = self.processes()
        nodes = [node.process for node in self._nodes]
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            try:
                node.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        for process in everything:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def free_ports(n: int) -> list[int]:
    """Ports on loopback that nobody uses at this moment."""
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
