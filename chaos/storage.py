"""Storage that fails: full disks, lost permissions, half writes, an object store out of order, inputs that change.

Each fault strikes a run of `emolabel.annotate`. The run must end with rows or one clear error, what it leaves must
hold nothing half-written, and once the fault is over the same call must complete the output: equal to an undisturbed
one. The object store is a real S3 server, with a door in front that refuses requests.
"""

import logging
import os
import random
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import boto3  # type: ignore[import-untyped]  # it has no types
import ray
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from chaos.workload import WINDOW_S, Toll, compare, make_bundle, make_clips, windows_written
from emolabel.api import Progress, annotate
from emolabel.errors import EmolabelError, Status

_BUCKET = "archive"
_EARLY = 3
"""Windows after which a fault comes that comes half-way: before the first file is written."""
_ANSWERS = {"404": "404 Not Found", "500": "500 Internal Server Error", "503": "503 Slow Down"}
_LONGEST_LINE = 600

OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass
class _Door:
    """What stands before the S3 server: lets requests through, or not."""

    app: Callable[..., Iterable[bytes]]
    request: str = ""
    """The kind that is hindered: PUT, GET, HEAD or LIST; empty: none."""
    key: str = ""
    """Only paths with this in them."""
    share: float = 1.0
    answer: str = "500"
    """`404`, `500`, `503`, `drop` (no answer), `cut` (half of the body), `late` (done, but answered with 500)."""
    armed_by: str = ""
    """A kind of request that must have come for the key, before anything is hindered."""

    def __post_init__(self) -> None:
        self._chance, self._lock = random.Random(7), threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not self._hinders(environ):
            return self.app(environ, start_response)
        if self.answer == "drop":
            raise ConnectionAbortedError
        if self.answer == "cut":
            body = b"".join(self.app(environ, start_response))
            return [body[: len(body) // 2]]
        if self.answer == "late":
            b"".join(self.app(environ, lambda *_: None))
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(_ANSWERS.get(self.answer, _ANSWERS["500"]), [("Content-Length", "0")])
        return [b""]

    def _hinders(self, environ: dict[str, Any]) -> bool:
        method = environ["REQUEST_METHOD"]
        kind = "LIST" if method == "GET" and "list-type" in environ["QUERY_STRING"] else method
        kind = "PUT" if kind == "POST" else kind
        with self._lock:
            if self.key not in environ["PATH_INFO"]:
                return False
            if self.armed_by:
                self.armed_by = "" if kind == self.armed_by else self.armed_by
                return False
            return kind == self.request and self._chance.random() < self.share


@dataclass
class Scene:
    """What a fault may lay its hands on."""

    videos: Path | None
    """None: they are in the object store."""
    out: Path
    door: _Door
    clips: Path
    """The content of the videos."""
    reference: Path
    """What an undisturbed run wrote."""


Injection: TypeAlias = Callable[[Scene], AbstractContextManager[OnProgress]]


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


def _nothing(progress: object) -> None:
    """Nobody looks."""


def _once(act: Callable[[], None], after: int = _EARLY) -> OnProgress:
    done = False

    def look(progress: Progress) -> None:
        nonlocal done
        if not done and progress.n_windows >= after:
            done = True
            act()

    return look


# Disks.


@contextmanager
def _full(scene: Scene, after: int) -> Iterator[OnProgress]:
    ballast = scene.out.parent / "ballast"

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    if after == 0:
        fill()
    yield _once(fill, after) if after else _nothing
    ballast.unlink()


@contextmanager
def _no_inodes(scene: Scene) -> Iterator[OnProgress]:
    many = scene.out.parent / "many"
    many.mkdir()

    def fill() -> None:
        try:
            for number in range(10_000):
                (many / str(number)).touch()
        except OSError:
            return

    yield _once(fill)
    shutil.rmtree(many)


@contextmanager
def _write_fails(scene: Scene, limit_bytes: int, after: int) -> Iterator[OnProgress]:
    """Writes beyond a size fail: the first part of a file is there then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    logging.raiseExceptions = False  # the engine's log files cannot grow either; nobody needs a traceback for that
    try:
        yield _once(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard)), after)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        logging.raiseExceptions = True


@contextmanager
def _read_only(scene: Scene) -> Iterator[OnProgress]:
    yield _once(lambda: _mount("remount,ro", scene.out.parent))
    _mount("remount,rw", scene.out.parent)


@contextmanager
def _forbidden(scene: Scene, name: str, after: int) -> Iterator[OnProgress]:
    """No permission to write. Root may write everywhere but to what is marked as immutable."""
    folder = scene.out / name
    root = os.geteuid() == 0

    def forbid() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if root:
            subprocess.run(["chattr", "+i", str(folder)], check=True)
        else:
            folder.chmod(0o500)

    if after == 0:
        forbid()
    yield _once(forbid, after) if after else _nothing
    if root:
        subprocess.run(["chattr", "-i", str(folder)], check=True)
    else:
        folder.chmod(0o700)


@contextmanager
def _removed(scene: Scene, name: str) -> Iterator[OnProgress]:
    yield _once(lambda: shutil.rmtree(scene.out / name))


@contextmanager
def _draft_left(scene: Scene) -> Iterator[OnProgress]:
    """What a writer leaves that lost its power half-way."""
    (scene.out / "labels").mkdir(parents=True)
    (scene.out / "labels" / ".part-0.parquet.0").write_bytes(b"PAR1 and not much more")
    yield _nothing


@contextmanager
def _cut_short(scene: Scene, kind: str) -> Iterator[OnProgress]:
    """A finished output of which a file is damaged; the user then does as the message says."""
    shutil.copytree(scene.reference, scene.out)
    damaged = min((scene.out / kind).glob("*.parquet"))
    os.truncate(damaged, damaged.stat().st_size // 2)
    yield _nothing
    damaged.unlink()


# Inputs.


@contextmanager
def _input_gone(scene: Scene) -> Iterator[OnProgress]:
    assert scene.videos is not None
    video, away = _last(scene.videos), scene.out.parent / "away"
    yield _once(lambda: _move(video, away), after=0)
    _move(away, video)


@contextmanager
def _input_replaced(scene: Scene, grows: bool) -> Iterator[OnProgress]:
    assert scene.videos is not None
    video, away = _last(scene.videos), scene.out.parent / "away"

    def replace() -> None:
        _move(video, away)
        video.write_bytes(away.read_bytes() + bytes(1000) if grows else _first(scene.clips).read_bytes())

    yield _once(replace, after=0)
    _move(away, video)


@contextmanager
def _object_gone(scene: Scene) -> Iterator[OnProgress]:
    """Planning copies it and decoding does not find it. Hidden, not deleted: what is put again is another object."""
    door = scene.door
    door.key, door.request, door.answer, door.share = _last(scene.clips).name, "HEAD", "404", 1.0
    door.armed_by = "GET"
    yield _nothing


@contextmanager
def _door(scene: Scene, request: str, answer: str, share: float, key: str = "", after: int = 0) -> Iterator[OnProgress]:
    door = scene.door
    door.answer, door.share, door.key = answer, share, key

    def shut() -> None:
        door.request = request

    if after == 0:
        shut()
    yield _once(shut, after) if after else _nothing


def _first(folder: Path) -> Path:
    return min(folder.iterdir())


def _last(folder: Path) -> Path:
    return max(path for path in folder.iterdir() if not path.stem.endswith("9"))


def _move(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.move(source, target)


def _mount(options: str, folder: Path, kind: str = "tmpfs") -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(folder)], check=True)


_UNKIND = {"PUT": ("500", "503", "drop"), "GET": ("500", "503", "drop"), "HEAD": ("503",), "LIST": ("503",)}

FAULTS: tuple[Fault, ...] = (
    Fault("disk full from the start", partial(_full, after=0), ends=True, mount="size=4m"),
    Fault("disk full half-way", partial(_full, after=_EARLY), ends=True, mount="size=4m"),
    Fault("no inodes left", _no_inodes, ends=True, mount="size=4m,nr_inodes=40"),
    Fault("a write of labels fails half-way", partial(_write_fails, limit_bytes=3000, after=_EARLY), ends=True),
    Fault("a write of run.json fails half-way", partial(_write_fails, limit_bytes=64, after=0), ends=True),
    Fault("mounted read-only half-way", _read_only, ends=True, mount="size=4m"),
    Fault("output folder: permission lost before", partial(_forbidden, name="", after=0), ends=True),
    Fault("labels/: permission lost half-way", partial(_forbidden, name="labels", after=_EARLY), ends=True),
    Fault("inputs/: permission lost half-way", partial(_forbidden, name="inputs", after=_EARLY), ends=True),
    Fault("output folder: permission lost half-way", partial(_forbidden, name="", after=_EARLY), ends=True),
    Fault("labels/ removed half-way", partial(_removed, name="labels"), ends=True),
    Fault("inputs/ removed half-way", partial(_removed, name="inputs"), ends=True),
    Fault("a half-written draft is left", _draft_left),
    Fault("a file of labels/ is damaged, then removed", partial(_cut_short, kind="labels"), ends=True),
    Fault("a file of inputs/ is damaged, then removed", partial(_cut_short, kind="inputs"), ends=True),
    Fault("input vanishes after listing", _input_gone, status=Status.MISSING),
    Fault("input replaced after listing", partial(_input_replaced, grows=False), status=Status.CHANGED),
    Fault("input grows after listing", partial(_input_replaced, grows=True), status=Status.CHANGED),
    *(
        Fault(
            f"S3: {answer} for 3 in 10 of {request}",
            partial(_door, request=request, answer=answer, share=0.3),
            remote=True,
        )
        for request in _UNKIND
        for answer in _UNKIND[request]
    ),
    Fault(
        "S3: half of the body for 3 in 10 of GET", partial(_door, request="GET", answer="cut", share=0.3), remote=True
    ),
    Fault("S3: PUT done, but answered 500", partial(_door, request="PUT", answer="late", share=0.5), remote=True),
    Fault(
        "S3: no PUT any more half-way",
        partial(_door, request="PUT", answer="503", share=1.0, after=_EARLY),
        ends=True,
        remote=True,
    ),
    Fault("S3: no LIST at all", partial(_door, request="LIST", answer="503", share=1.0), ends=True, remote=True),
    Fault("S3: input vanishes between plan and decode", _object_gone, status=Status.MISSING, remote=True),
    Fault(
        "S3: one object never comes",
        partial(_door, request="GET", answer="503", share=1.0, key="0006.mp4"),
        status=Status.UNAVAILABLE,
        remote=True,
    ),
)


def run_storage(n_files: int, folder: Path, faults: Iterable[Fault] = FAULTS) -> Iterator[Toll]:
    """Each fault once, on a Ray in this process. Faults that need a file system of their own are left out without root.

    Yields:
        A line of the table after each fault.
    """
    with _stage(n_files, folder) as stage:
        for number, fault in enumerate(faults):
            if fault.mount is None or os.geteuid() == 0:
                yield stage.suffer(fault, folder / f"fault-{number}")


@dataclass(frozen=True)
class _Stage:
    clips: Path
    bundle: Path
    door: _Door
    references: dict[bool, Path]
    """Undisturbed outputs: of the clips on disk, and in the object store."""

    def suffer(self, fault: Fault, place: Path) -> Toll:
        """One run under the fault, and one after it."""
        place.mkdir()
        reference = self.references[fault.remote]
        with ExitStack() as later:
            if fault.mount is not None:
                _mount(fault.mount, place)
                later.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
            scene = Scene(None if fault.remote else self.clips, place / "out", self.door, self.clips, reference)
            notes, wrong = self._under(fault, scene)
            self.door.request = ""
            left = compare(fault.name, reference, self._local(fault, scene))
            n_left = sum(status != fault.status for status in windows_written(scene.out, "status").values())
            if fault.status is None:  # what is there already is right, or not there at all
                wrong += left.doubled + left.different
            retry = () if fault.status is None else (fault.status,)
            wasted = 0
            try:
                after = self.annotate(fault.remote, self._target(fault, scene), retry=retry)
                wasted = after.n_windows - (len(windows_written(reference)) - n_left)
            except EmolabelError as error:  # it should have repaired
                notes, wrong = [*notes, f"the next run: {error}"], wrong + 1
            done = self._local(fault, scene)
            return compare(
                fault.name,
                reference,
                done,
                injected=1,
                unreadable=left.unreadable,
                unclear=wrong,
                wasted=max(0, wasted),
            ).told(notes)

    def _under(self, fault: Fault, scene: Scene) -> tuple[list[str], int]:
        """What the user was told, and how much of that was wrong."""
        error: EmolabelError | None = None
        with fault.inject(scene) as on_progress:
            try:
                progress = self.annotate(fault.remote, self._target(fault, scene), on_progress=on_progress)
            except EmolabelError as raised:
                error = raised
        if error is not None:
            text = str(error)
            return [text], int("\n" in text or len(text) > _LONGEST_LINE or not (fault.ends or fault.remote))
        failures = [status for status in progress.inputs if status.failure and status is not Status.UNREADABLE]
        told = [f"{status}: {reason}" for status in failures for reason in progress.reasons.get(status, ())]
        return told, int(fault.ends or (fault.status is not None and fault.status not in failures))

    def annotate(self, remote: bool, out: str, **more: Any) -> Progress:
        """The call that all runs make."""
        videos = f"s3://{_BUCKET}/videos" if remote else str(self.clips)
        return annotate(videos, out, model=str(self.bundle), window=WINDOW_S, workers=1, **more)

    def _target(self, fault: Fault, scene: Scene) -> str:
        return f"s3://{_BUCKET}/{scene.out.parent.name}" if fault.remote else str(scene.out)

    def _local(self, fault: Fault, scene: Scene) -> Path:
        """The output on this machine's disk."""
        if fault.remote:
            _download(scene.out.parent.name, scene.out)
        return scene.out


@contextmanager
def _stage(n_files: int, folder: Path) -> Iterator[_Stage]:
    clips, bundle = folder / "videos", folder / "bundle"
    make_clips(clips, n_files)
    make_bundle(bundle)
    with _object_store() as door:
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=_BUCKET)
        for clip in sorted(clips.iterdir()):
            s3.upload_file(str(clip), _BUCKET, f"videos/{clip.name}")
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _node_ip_address="127.0.0.1",
        )
        try:
            stage = _Stage(clips, bundle, door, {False: folder / "undisturbed", True: folder / "undisturbed-s3"})
            for remote, out in stage.references.items():
                stage.annotate(remote, str(out))
            yield stage
        finally:
            ray.shutdown()


@contextmanager
def _object_store() -> Iterator[_Door]:
    """A S3 server on loopback, which this process and all that it starts take for the real one."""
    door = _Door(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, door, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAY_BACKEND_LOG_LEVEL": "fatal",  # as runs of their own have it: Ray's C++ side would write into the table
    }
    try:
        yield door
    finally:
        os.environ.clear()
        os.environ |= before
        server.shutdown()
        thread.join()


class _Silent(WSGIRequestHandler):
    """No line for every request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


def _download(prefix: str, folder: Path) -> None:
    s3 = boto3.client("s3")
    shutil.rmtree(folder, ignore_errors=True)
    for entry in s3.list_objects_v2(Bucket=_BUCKET, Prefix=f"{prefix}/").get("Contents", []):
        if not entry["Key"].endswith("/"):
            target = folder / entry["Key"].removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(_BUCKET, entry["Key"], str(target))
