"""One hostile file through the stages plan and decode, looked at from inside its worker.

The very functions that Ray's operators call, a real decoding child, a real face detector, and messages as Arrow.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from chaos.cases import Case
from chaos.lures import SECRET
from emolabel.config import DecodeLimits, FaceSettings, Settings, WindowPolicy
from emolabel.errors import Status
from emolabel.faces.detect import build_detector
from emolabel.media.isolate import FrameStream, IsolatedMedia
from emolabel.pipeline.decode import DecodeTools, decode_chunk
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.messages import Chunk, Source
from emolabel.pipeline.plan import plan_source
from emolabel.pipeline.sources import list_inputs
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec
from emolabel.types import AudioClip, Int64Array, MediaInfo, UInt8Array

LIMITS: Final = DecodeLimits(open_timeout_s=10, reply_timeout_s=5, memory_mb=1024, max_duration_s=300)
SPEC: Final = InputSpec(face=FrameSampling(count=2), audio=AudioSampling(seconds=0.25))
GRACE_S: Final = 5.0
"""Lateness beyond a deadline that counts as a hang."""


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

    def start(self, stream: FrameStream) -> None:
        with self._clock(self.limits.open_timeout_s + self.limits.reply_timeout_s):
            super().start(stream)

    def next_batch(self, max_frames: int, frame_bytes: int) -> tuple[Int64Array, UInt8Array]:
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


def _listed(folder: Path, case: Case) -> Sequence[Source]:
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
    elif SECRET in error or "Traceback" in error or "object at 0x" in error:
        yield f"a reason that tells too much: {error!r}"
