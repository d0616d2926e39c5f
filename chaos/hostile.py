"""Thousands of hostile files through the stages plan and decode, and a table of what came of them.

`python -m chaos.hostile --files 2000 --seed 0`. Linux. It ends with 1 if a file hung or crashed a worker, had another
file or a server opened, or gave a row that is not as promised. Without Ray, so that it takes minutes: the very
functions that the operators call, a real decoding child, a real face detector, and messages as Arrow.
"""

import argparse
import ctypes
import multiprocessing
import os
import select
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Final

import av
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from chaos.mutate import Case, Clip, Lures, make_cases
from emolabel.config import DecodeLimits, FaceSettings, Settings, WindowPolicy
from emolabel.demo import make_demo_clips
from emolabel.errors import Status
from emolabel.faces.cascade import build_detector
from emolabel.media.isolate import FrameStream, IsolatedMedia
from emolabel.pipeline.decode import DecodeTools, decode_chunk
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.messages import Chunk, Source
from emolabel.pipeline.plan import plan_source
from emolabel.pipeline.sources import list_inputs
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec
from emolabel.types import AudioClip, MediaInfo, UInt8Array

LIMITS: Final = DecodeLimits(open_timeout_s=10, reply_timeout_s=5, memory_mb=1024, max_duration_s=300)
SPEC: Final = InputSpec(face=FrameSampling(count=2), audio=AudioSampling(seconds=0.25))
GRACE_S: Final = 5.0
"""Lateness beyond a deadline that counts as a hang."""

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
_SECRET: Final = "hunter2"
_IN_ACCESS, _IN_OPEN = 0x1, 0x20


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    kind: str
    name: str
    statuses: tuple[str, ...] = ()
    """Of its rows, each once."""
    slowest_s: float = 0.0
    """The longest that an answer of the decoding child took."""
    hung: bool = False
    crashed: bool = False
    """The worker, not its child, died or raised."""
    complaints: tuple[str, ...] = ()
    """What is wrong with its rows."""
    child_mb: float = 0.0
    """Most memory of its decoding child."""
    worker_mb: float = 0.0
    """Most memory of the worker meanwhile."""


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


# Lures: a server, and files, that see who comes.


class Watch:
    """Counts connections to a loopback server, and opens and reads of some files (inotify).

    Raises:
        OSError: the system cannot watch; a watch that sees nothing would prove nothing, so both are tried first.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in files:
            if libc.inotify_add_watch(self._inotify, os.fsencode(path), _IN_OPEN | _IN_ACCESS) < 0:
                raise OSError(ctypes.get_errno(), f"inotify cannot watch {path}")
        files[0].read_bytes()
        socket.create_connection(self._server.getsockname()).close()
        if not self.opened() or not self.connected():
            raise OSError("the watch sees neither files nor connections here")

    @property
    def url(self) -> str:
        host, port = self._server.getsockname()
        return f"http://{host}:{port}"

    def opened(self) -> int:
        """Opens and reads since the last call."""
        n_events = 0
        while select.select([self._inotify], [], [], 0)[0]:
            events, at = os.read(self._inotify, 1 << 16), 0
            while at < len(events):
                _, _, _, name_bytes = struct.unpack_from("iIII", events, at)
                at += 16 + name_bytes
                n_events += 1
        return n_events

    def connected(self) -> int:
        """Connections since the last call; the backlog keeps more than it takes to see one."""
        n_connections = 0
        while select.select([self._server], [], [], 0)[0]:
            self._server.accept()[0].close()
            n_connections += 1
        return n_connections

    def close(self) -> None:
        self._server.close()
        os.close(self._inotify)


def make_secrets(folder: Path) -> tuple[Path, ...]:
    """Files worth stealing: a text, a picture, and clips that would decode."""
    folder.mkdir()
    text = folder / "secret.txt"
    text.write_text(f"password={_SECRET}\n" * 100)
    picture = folder / "secret.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(picture)
    clips = [folder / "secret.ts", folder / "secret.mp4"]
    for clip in clips:
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 64
            for _ in range(25):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return text, picture, *clips


def seed_clips(scratch: Path) -> list[Clip]:
    """Small clips to break: real ones in many containers where this project's media lie, else the demo's."""
    files = [_MEDIA / name for name in _CLIPS if (_MEDIA / name).exists()] or make_demo_clips(scratch / "demo")
    return [Clip(path.suffix, path.read_bytes()) for path in files if path.stat().st_size <= _MAX_CLIP_BYTES]


# A worker: a process of its own, as under Ray.


class ClockedMedia(IsolatedMedia):
    """As the product's, and notes how long each answer took and by how much it missed its deadline."""

    slowest_s = 0.0
    latest_s = 0.0
    """The most by which an answer came after its deadline."""

    @contextmanager
    def _clock(self, deadline_s: float) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            took_s = time.monotonic() - began
            self.slowest_s = max(self.slowest_s, took_s)
            self.latest_s = max(self.latest_s, took_s - deadline_s)

    def probe(self, path: str) -> MediaInfo:
        with self._clock(self.limits.open_timeout_s):
            return super().probe(path)

    def start(self, stream: FrameStream, use_decord: bool) -> str:
        with self._clock(self.limits.open_timeout_s + self.limits.reply_timeout_s):
            return super().start(stream, use_decord)

    def next_batch(self, max_frames: int, frame_bytes: int) -> tuple[int, UInt8Array]:
        with self._clock(self.limits.reply_timeout_s):
            return super().next_batch(max_frames, frame_bytes)

    def audio(self, path: str, info: MediaInfo, start_s: float, end_s: float, sample_rate_hz: int) -> AudioClip:
        with self._clock(self.limits.reply_timeout_s):
            return super().audio(path, info, start_s, end_s, sample_rate_hz)


@dataclass
class _ChildMemory:
    """Most memory that the decoding child has used, looked at all the time: it may be killed at any moment."""

    media: IsolatedMedia
    most_mb: float = 0.0
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "_ChildMemory":
        if self.media.child_pid is not None:
            _forget_peak(self.media.child_pid)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            pid = self.media.child_pid
            self.most_mb = max(self.most_mb, _peak_mb(pid) if pid is not None else 0.0)
            if self._stopped.wait(0.02):
                return


def _forget_peak(pid: int) -> None:
    """Have the kernel count a process's most memory from here on (`man 5 proc`, clear_refs)."""
    with suppress(OSError):  # it is gone, or this is not allowed: then the peak is that of its whole life
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_mb(pid: int) -> float:
    """The most memory that a process has used; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def make_tools(limits: DecodeLimits) -> tuple[DecodeTools, ClockedMedia]:
    """What a worker holds."""
    faces = FaceSettings(detect_max_side_px=160)
    settings = Settings(windows=WindowPolicy(length_s=5.0), faces=faces, limits=limits)
    media = ClockedMedia(limits)
    stamp = RunStamp("none", "", "", "hostile")
    return DecodeTools(LocalFiles(), media, build_detector(faces), SPEC, settings, stamp), media


def try_case(case: Case, folder: Path, tools: DecodeTools, media: ClockedMedia) -> Outcome:
    """Make a case in `folder`, take it through the stages, and look at what comes out."""
    folder.mkdir()
    case.make(folder / case.name)
    _forget_peak(os.getpid())
    media.slowest_s = media.latest_s = 0.0
    with _ChildMemory(media) as memory:
        rows = [row for source in _listed(folder, case) for row in _rows_of(source, tools)]
    shutil.rmtree(folder)
    folder.with_suffix(".outside").unlink(missing_ok=True)
    return Outcome(
        kind=case.kind,
        name=case.name,
        statuses=tuple(sorted({status for status, _ in rows})),
        slowest_s=media.slowest_s,
        hung=media.latest_s > GRACE_S,
        complaints=tuple(dict.fromkeys(text for status, error in rows for text in _wrong(status, error)))
        or (() if rows else ("no row",)),
        child_mb=memory.most_mb,
        worker_mb=_peak_mb(os.getpid()),
    )


def _listed(folder: Path, case: Case) -> list[Source]:
    """As users name inputs: by the folder where the name is what is hostile, else one by one, so that all are tried."""
    path = folder / case.name
    if case.kind == "names":
        return list_inputs([str(folder)]).sources
    if not path.is_dir():
        return list_inputs([str(path)]).sources
    manifest = folder.with_suffix(".csv")  # the one way to name a folder as a video
    manifest.write_text(f"uri\n{path}\n")
    try:
        return list_inputs([str(manifest)]).sources
    finally:
        manifest.unlink()


def _rows_of(source: Source, tools: DecodeTools) -> Iterator[tuple[str, str | None]]:
    """Status and error of each row, over Arrow as between Ray's operators."""
    for planned in plan_source(source, tools.files, tools.media, tools.settings):
        chunk = Chunk.from_table(planned.to_table())
        for result in decode_chunk(chunk, tools):
            if result.facts.status is not None:
                yield str(result.facts.status), result.facts.error
            for row in result.labels.select(["status", "error"]).to_pylist():
                yield row["status"], row["error"]


def _wrong(status: str, error: str | None) -> Iterator[str]:
    """How a row breaks its promises."""
    if status not in set(Status) or status == Status.FAILED:
        yield f"status {status}: {error}"
    if status == Status.OK:
        return
    if not error or not error.isprintable() or not 5 <= len(error) <= 500:
        yield f"no readable reason for {status}: {error!r}"
    elif _SECRET in error or "Traceback" in error or "object at 0x" in error:
        yield f"a reason that tells too much: {error!r}"


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


# The whole.


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
