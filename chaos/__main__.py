"""`python -m chaos`: kills, storage faults and hostile files; one table. Exit status 1 where anything was lost."""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from chaos.kills import run_kills
from chaos.storage import run_storage
from chaos.workload import Toll, print_tolls, total


def main() -> int:
    """Run what was asked for, and print what it cost."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="how many processes to kill (default: 60)")
    parser.add_argument("--files", type=int, default=200, help="clips that each job labels (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--only", choices=["kills", "storage", "hostile"], help="one of the three parts")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the clusters would stay behind
    console = Console(highlight=False, width=160)
    tolls: list[Toll] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        if options.only in (None, "kills"):
            place = _folder(folder, "kills")
            tolls += _shown(run_kills(options.kills, options.files, options.seed, place), "kills", console)
        if options.only in (None, "storage"):
            place = _folder(folder, "storage")
            tolls += _shown(run_storage(max(20, options.files // 10), place), "storage faults", console)
    if tolls:
        print_tolls(tolls, console)
    hostile = 0
    if options.only in (None, "hostile"):
        hostile = subprocess.run([sys.executable, "-m", "chaos.hostile"], check=False).returncode
    return int(hostile != 0 or not all(toll.clean for toll in tolls))


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder


def _shown(tolls: Iterator[Toll], name: str, console: Console) -> list[Toll]:
    """The lines with their sum; each is announced as it comes, for the whole takes a quarter of an hour."""
    found = []
    for toll in tolls:
        found.append(toll)
        console.print(f"{toll.fault}: {toll.injected} times, {'nothing lost' if toll.clean else 'NOT CLEAN'}")
        for note in dict.fromkeys(toll.notes):
            console.print(f"    {note}", markup=False, style="dim")
    return [*found, total(f"all {name}", found)]


if __name__ == "__main__":
    sys.exit(main())
