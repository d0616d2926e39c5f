"""Thousands of hostile files through the stages plan and decode, and a table of what came of them.

`python -m chaos.hostile --files 2000 --seed 0`. Linux. It ends with 1 if a file hung or crashed a worker, had another
file or a server opened, or gave a row that is not as promised. Without Ray, so that it takes minutes: the very
functions that the operators call, a real decoding child, a real face detector, and messages as Arrow.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from chaos.cases import Case, Clip, Lures
from chaos.lures import Watch, make_secrets
from chaos.mutate import make_cases
from chaos.trial import LIMITS, Outcome, make_tools, try_case
from emolabel.config import DecodeLimits
from emolabel.demo import make_demo_clips

_MEDIA: Final = Path(__file__).resolve().parents[2] / "shared" / "media" / "videos"
_CLIPS: Final = (
    *("clear/codec_av1_bars.mkv", "clear/codec_hevc10bit_bars.mp4", "clear/codec_vp8_canvas_recordrtc.webm"),
    *("clear/corrupt_h264_decord.mp4", "clear/face1_profile_headpose_female_intel.gif"),
    *("clear/face1_speech_grid_sbwe5n.mpg", "clear/rot90_phone_keyboard_decord.mov", "derived/audio_only.m4a"),
    *("derived/cinepak_pcm_face_speech.avi", "derived/flv1_mp3_face_speech.flv", "derived/h263_face_speech.3gp"),
    *("derived/gray_ffv1_flac_face_speech.mkv", "derived/mjpeg_pcm_face_speech.mov", "derived/noaudio_face.mp4"),
    *("derived/rot90_face_speech.mp4", "derived/vfr_face_speech.mp4", "derived/vp9_opus_face_speech.webm"),
)
"""Each another container, codec or shape of index."""

_MAX_CLIP_BYTES: Final = 2 * 2**20
_GIVEN_UP_S: Final = 240.0


@dataclass(frozen=True)
class Report:
    """What came of all of them."""

    outcomes: tuple[Outcome, ...]
    connections: int
    """That the server on the loopback interface saw."""
    foreign_reads: int
    """Times that a file which only other files point at was opened or read."""
    seconds: float

    @property
    def hangs(self) -> int:
        return sum(outcome.hung for outcome in self.outcomes)

    @property
    def crashes(self) -> int:
        return sum(outcome.crashed for outcome in self.outcomes)

    @property
    def complaints(self) -> list[str]:
        return [f"{o.kind}, {o.name!r}: {text}" for o in self.outcomes for text in o.complaints]

    @property
    def sound(self) -> bool:
        """Whether every promise was kept."""
        return not (self.hangs or self.crashes or self.connections or self.foreign_reads or self.complaints)


def seed_clips(scratch: Path) -> list[Clip]:
    """Small clips to break: real ones in many containers where this project's media lie, else the demo's."""
    files = [_MEDIA / name for name in _CLIPS if (_MEDIA / name).exists()] or make_demo_clips(scratch / "demo")
    return [Clip(path.suffix, path.read_bytes()) for path in files if path.stat().st_size <= _MAX_CLIP_BYTES]


@dataclass(frozen=True)
class _Job:
    """All that a worker needs to make the same list of cases as the others."""

    scratch: Path
    clips: tuple[Clip, ...]
    lures: Lures
    n_files: int
    seed: int
    limits: DecodeLimits

    def cases(self) -> list[Case]:
        return make_cases(self.clips, self.lures, self.n_files, self.seed)


def _work(orders: Connection, job: _Job) -> None:
    """Take numbers of cases, give their outcomes back, until the other end closes."""
    import torch

    torch.set_num_threads(1)
    cases = job.cases()
    tools, media = make_tools(job.limits)
    with media:
        while True:
            try:
                number = orders.recv()
            except EOFError:
                return
            orders.send(try_case(cases[number], job.scratch / f"{number:06d}", tools, media))


class _Worker:
    """A worker seen from outside. Replaced when it dies or keeps silent."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share this process's threads and descriptors
        self._orders, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._job), daemon=True)
        self._process.start()
        theirs.close()

    def outcome(self, number: int, case: Case) -> Outcome:
        """What came of a case, also where the worker did not survive it."""
        try:
            self._orders.send(number)
            if self._orders.poll(_GIVEN_UP_S):
                outcome = self._orders.recv()
                assert isinstance(outcome, Outcome)
                return outcome
            failed = Outcome(case.kind, case.name, slowest_s=_GIVEN_UP_S, hung=True)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            failed = Outcome(case.kind, case.name, crashed=True)
        self.close()
        self._start()
        return failed

    def close(self) -> None:
        self._orders.close()
        self._process.join(10)
        self._process.kill()


def run_hostile(n_files: int, seed: int, *, limits: DecodeLimits = LIMITS, n_processes: int = 2) -> Report:
    """Take at least `n_files` hostile files through the stages.

    Raises:
        OSError: this system cannot watch files and connections.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        scratch = Path(name)
        secrets = make_secrets(scratch / "secrets")
        watch = Watch(secrets)
        try:
            job = _Job(scratch, tuple(seed_clips(scratch)), Lures(secrets, watch.url), n_files, seed, limits)
            cases = job.cases()
            watch.opened()  # making the cases may read the lures; that was us
            outcomes = _outcomes(job, cases, n_processes)
            return Report(tuple(outcomes), watch.connected(), watch.opened(), time.monotonic() - began)
        finally:
            watch.close()


def _outcomes(job: _Job, cases: Sequence[Case], n_processes: int) -> list[Outcome]:
    """In the order of the cases, by some workers that take the next case when they are done with one."""
    numbers, lock = iter(range(len(cases))), threading.Lock()
    outcomes: dict[int, Outcome] = {}

    def drive() -> None:
        worker = _Worker(job)
        try:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                outcomes[number] = worker.outcome(number, cases[number])
        finally:
            worker.close()

    threads = [threading.Thread(target=drive) for _ in range(n_processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[number] for number in sorted(outcomes)]


def table_of(report: Report) -> Table:
    """A row per kind of hostility."""
    table = Table(title=f"{len(report.outcomes)} hostile files in {report.seconds:.0f} s")
    table.add_column("hostility")
    for heading in ("files", "slowest (s)", "hangs", "worker crashes", "bad rows", "child (MB)", "worker (MB)"):
        table.add_column(heading, justify="right")
    table.add_column("statuses")
    kinds = list(dict.fromkeys(outcome.kind for outcome in report.outcomes))
    for kind in [*kinds, None]:
        some = [outcome for outcome in report.outcomes if kind in (outcome.kind, None)]
        statuses = Counter(status for outcome in some for status in outcome.statuses)
        table.add_row(
            kind or "all",
            str(len(some)),
            f"{max(outcome.slowest_s for outcome in some):.1f}",
            str(sum(outcome.hung for outcome in some)),
            str(sum(outcome.crashed for outcome in some)),
            str(sum(bool(outcome.complaints) for outcome in some)),
            f"{max(outcome.child_mb for outcome in some):.0f}",
            f"{max(outcome.worker_mb for outcome in some):.0f}",
            ", ".join(f"{status} {n}" for status, n in statuses.most_common()),
            end_section=kind == kinds[-1],
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    report = run_hostile(options.files, options.seed, n_processes=options.processes)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table_of(report))
    console.print(f"connections to a loopback server: {report.connections}; foreign reads: {report.foreign_reads}")
    for outcome in report.outcomes:
        if outcome.hung or outcome.crashed:
            console.print(f"{'hung' if outcome.hung else 'crashed'}: {outcome.kind}, {outcome.name!r}", markup=False)
    for text in report.complaints:
        console.print(text, markup=False)
    return 0 if report.sound else 1


if __name__ == "__main__":
    sys.exit(main())
