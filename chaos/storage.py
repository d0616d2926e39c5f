"""Storage that fails: full disks, lost permissions, half writes, an object store out of order, inputs that change.

Each fault strikes a run of `emolabel.annotate`. The run must end with rows or one clear error, what it leaves must
hold nothing half-written, and once the fault is over the same call must complete the output: equal to an undisturbed
one.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray

from chaos import injections
from chaos.injections import EARLY, CannotInjectError, Injection, Scene
from chaos.store import BUCKET, Door, download, object_store, upload
from chaos.workload import WINDOW_S, Toll, compare, make_bundle, make_clips, windows_written
from emolabel.api import Progress, annotate
from emolabel.errors import EmolabelError, Status

_LONGEST_LINE = 600


@dataclass(frozen=True)
class Fault:
    """A way in which storage fails."""

    name: str
    inject: Injection
    ends: bool = False
    """Whether the run cannot go on, and has to say why."""
    status: Status | None = None
    """Of the rows that tell of it."""
    remote: bool = False
    """In the object store."""
    mount: str | None = None
    """Options of a small file system that the output lies on."""


def _disk(name: str, inject: Injection, mount: str | None = None) -> Fault:
    return Fault(name, inject, ends=True, mount=mount)


def _s3(name: str, request: str, answer: str, share: float = 1.0, *, ends: bool = False, **more: Any) -> Fault:
    return Fault(
        f"S3: {name}",
        partial(injections.hindered, request=request, answer=answer, share=share, **more),
        ends=ends,
        remote=True,
    )


_FORBIDDEN, _WRITE_FAILS = injections.forbidden, injections.write_fails
_UNKIND = {"PUT": ("500", "503", "drop"), "GET": ("500", "503", "drop"), "HEAD": ("503",), "LIST": ("503",)}

FAULTS: tuple[Fault, ...] = (
    _disk("disk full from the start", partial(injections.full, after=0), mount="size=4m"),
    _disk("disk full half-way", partial(injections.full, after=EARLY), mount="size=4m"),
    _disk("no inodes left", injections.no_inodes, mount="size=4m,nr_inodes=40"),
    _disk("a write of labels fails half-way", partial(_WRITE_FAILS, limit_bytes=3000, after=EARLY)),
    _disk("a write of run.json fails half-way", partial(_WRITE_FAILS, limit_bytes=64, after=0)),
    _disk("mounted read-only half-way", injections.read_only, mount="size=4m"),
    _disk("output folder: permission lost before", partial(_FORBIDDEN, name="", after=0)),
    _disk("labels/: permission lost half-way", partial(_FORBIDDEN, name="labels", after=EARLY)),
    _disk("inputs/: permission lost half-way", partial(_FORBIDDEN, name="inputs", after=EARLY)),
    _disk("output folder: permission lost half-way", partial(_FORBIDDEN, name="", after=EARLY)),
    _disk("labels/ removed half-way", partial(injections.removed, name="labels")),
    _disk("inputs/ removed half-way", partial(injections.removed, name="inputs")),
    Fault("a half-written draft is left", injections.draft_left),
    _disk("a file of labels/ is damaged, then removed", partial(injections.cut_short, kind="labels")),
    _disk("a file of inputs/ is damaged, then removed", partial(injections.cut_short, kind="inputs")),
    Fault("input vanishes after listing", injections.input_gone, status=Status.MISSING),
    Fault("input replaced after listing", partial(injections.input_replaced, grows=False), status=Status.CHANGED),
    Fault("input grows after listing", partial(injections.input_replaced, grows=True), status=Status.CHANGED),
    *(
        _s3(f"{answer} for 3 in 10 of {request}", request, answer, 0.3)
        for request in _UNKIND
        for answer in _UNKIND[request]
    ),
    _s3("half of the body for 3 in 10 of GET", "GET", "cut", 0.3),
    _s3("PUT done, but answered 500", "PUT", "late", 0.5),
    _s3("no PUT any more half-way", "PUT", "503", after=EARLY, ends=True),
    _s3("no LIST at all", "LIST", "503", ends=True),
    Fault("S3: input vanishes between plan and decode", injections.object_gone, status=Status.MISSING, remote=True),
    replace(_s3("one object never comes", "GET", "503", key="0006.mp4"), status=Status.UNAVAILABLE),
)


def run_storage(n_files: int, folder: Path) -> Iterator[Toll]:
    """Each fault once, on a Ray in this process and an object store on loopback.

    Yields:
        A line of the table after each fault.
    """
    with object_store() as door:
        os.environ |= {
            "RAY_BACKEND_LOG_LEVEL": "fatal",  # as runs of their own have it: Ray's C++ side would write into the table
            "RAY_worker_niceness": "0",  # else workers stand back behind all that the machine does
        }
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _node_ip_address="127.0.0.1",
        )
        # Ray puts a handler of its own there, which would end us with mounts left behind.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        try:
            yield from run_faults(FAULTS, n_files, folder, door)
        finally:
            ray.shutdown()


def run_faults(faults: Iterable[Fault], n_files: int, folder: Path, door: Door) -> Iterator[Toll]:
    """These faults, on the Ray that this process has. One that the machine does not let us make is injected 0 times.

    Args:
        door: of the object store that this process, and Ray with it, take for the real one.
    """
    clips, bundle = folder / "videos", folder / "bundle"
    make_clips(clips, n_files)
    make_bundle(bundle)
    upload(clips, "videos")
    stage = _Stage(clips, bundle, door, {False: folder / "undisturbed", True: folder / "undisturbed-s3"})
    for remote, out in stage.references.items():
        stage.annotate(remote, str(out))
    for number, fault in enumerate(faults):
        try:
            yield stage.suffer(fault, folder / f"fault-{number}")
        except CannotInjectError as error:
            yield Toll(fault.name, notes=(f"not injected: {error}",))


@dataclass(frozen=True)
class _Stage:
    clips: Path
    bundle: Path
    door: Door
    references: dict[bool, Path]
    """Undisturbed outputs: of the clips on disk, and in the object store."""

    def suffer(self, fault: Fault, place: Path) -> Toll:
        """One run under the fault, and one after it.

        Raises:
            CannotInjectError: this machine does not let us make the fault.
        """
        place.mkdir()
        with ExitStack() as mounted:
            if fault.mount is not None:
                injections.do("mount", "-t", "tmpfs", "-o", fault.mount, "tmpfs", str(place))
                mounted.callback(injections.do, "umount", "-l", str(place))
            return self._suffer(fault, place / "out")

    def _suffer(self, fault: Fault, out: Path) -> Toll:
        reference = self.references[fault.remote]
        self.door.n_hindered = 0
        with ExitStack() as undo:
            undo.callback(self.door.open)
            scene = Scene(self.clips, out, self.door, reference, undo)
            notes, wrong = self._under(fault, scene)
        if not (self.door.n_hindered if fault.remote else scene.struck):
            notes, wrong = [*notes, "the fault did not come about"], wrong + 1
        left = compare(fault.name, reference, self._local(fault, out))
        n_left = sum(status != fault.status for status in windows_written(out, "status").values())
        if fault.status is None:  # what is there already is right, or not there at all
            wrong += left.doubled + left.different
        retry = () if fault.status is None else (fault.status,)
        wasted = 0
        try:
            after = self.annotate(fault.remote, self._target(fault, out), retry=retry)
            wasted = after.n_windows - (len(windows_written(reference)) - n_left)
        except EmolabelError as error:  # it should have repaired
            notes, wrong = [*notes, f"the next run: {error}"], wrong + 1
        counts = {"injected": 1, "unreadable": left.unreadable, "unclear": wrong, "wasted": max(0, wasted)}
        return compare(fault.name, reference, self._local(fault, out), **counts).told(notes)

    def _under(self, fault: Fault, scene: Scene) -> tuple[list[str], int]:
        """What the user was told, and how much of that was wrong."""
        try:
            on_progress = fault.inject(scene)
            progress = self.annotate(fault.remote, self._target(fault, scene.out), on_progress=on_progress)
        except EmolabelError as error:
            text = str(error)
            return [text], int("\n" in text or len(text) > _LONGEST_LINE or not (fault.ends or fault.remote))
        except CannotInjectError:
            raise
        except Exception as error:  # any other one would be a traceback for the user: counted, and the next fault comes
            return [f"{type(error).__name__}: {error}"], 1
        failures = [status for status in progress.inputs if status.failure and status is not Status.UNREADABLE]
        told = [f"{status}: {reason}" for status in failures for reason in progress.reasons.get(status, ())]
        return told, int(fault.ends or (fault.status is not None and fault.status not in failures))

    def annotate(self, remote: bool, out: str, **more: Any) -> Progress:
        """The call that all runs make."""
        videos = f"s3://{BUCKET}/videos" if remote else str(self.clips)
        return annotate(videos, out, model=str(self.bundle), window=WINDOW_S, workers=1, **more)

    def _target(self, fault: Fault, out: Path) -> str:
        return f"s3://{BUCKET}/{out.parent.name}" if fault.remote else str(out)

    def _local(self, fault: Fault, out: Path) -> Path:
        """The output on this machine's disk."""
        if fault.remote:
            download(out.parent.name, out)
        return out
