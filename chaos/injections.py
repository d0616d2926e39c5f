"""Ways in which storage fails, one function each: it strikes at once or half-way, and says how it is undone."""

import logging
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from chaos.store import Door
from emolabel.api import Progress

EARLY = 3
"""Windows after which a fault comes that comes half-way: before the first file is written."""

OnProgress: TypeAlias = Callable[[Progress], None]


class CannotInjectError(Exception):
    """This machine does not let us make that fault."""


@dataclass
class Scene:
    """What a fault may lay its hands on."""

    videos: Path
    """The content of the inputs; where they are in the object store, a copy of them."""
    out: Path
    door: Door
    reference: Path
    """What an undisturbed run wrote."""
    undo: ExitStack
    """What has to be done when the fault is over."""
    struck: bool = False
    """Whether the fault has come about."""

    def now(self, act: Callable[[], None]) -> OnProgress:
        """Strike before the run."""
        act()
        self.struck = True
        return nothing

    def later(self, act: Callable[[], None], after: int = EARLY) -> OnProgress:
        """Strike once during the run, after so many windows; 0: when the inputs have been listed."""

        def look(progress: Progress) -> None:
            if not self.struck and progress.n_windows >= after:
                self.now(act)

        return look


Injection: TypeAlias = Callable[[Scene], OnProgress]


def nothing(progress: object) -> None:
    """Nobody looks."""


# Disks.


def full(scene: Scene, after: int) -> OnProgress:
    ballast = scene.out.parent / "ballast"

    def fill() -> None:
        scene.undo.callback(ballast.unlink)
        with ballast.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    return scene.later(fill, after) if after else scene.now(fill)


def no_inodes(scene: Scene) -> OnProgress:
    many = scene.out.parent / "many"
    many.mkdir()
    scene.undo.callback(shutil.rmtree, many)

    def fill() -> None:
        try:
            for number in range(10_000):
                (many / str(number)).touch()
        except OSError:
            return

    return scene.later(fill)


def write_fails(scene: Scene, limit_bytes: int, after: int) -> OnProgress:
    """Writes beyond a size fail: the first part of a file is there then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        # The engine's log files cannot grow either; nobody needs a traceback for that.
        logging.raiseExceptions = False
        scene.undo.callback(setattr, logging, "raiseExceptions", True)
        scene.undo.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))

    return scene.later(limit, after) if after else scene.now(limit)


def read_only(scene: Scene) -> OnProgress:
    """Mounted over itself: a file system with files that are being written cannot become read-only."""
    place = str(scene.out.parent)

    def close() -> None:
        do("mount", "--bind", place, place)
        scene.undo.callback(do, "umount", "-l", place)
        do("mount", "-o", "remount,bind,ro", place)

    return scene.later(close)


def forbidden(scene: Scene, name: str, after: int) -> OnProgress:
    """No permission to write. Root may write everywhere but to what is marked as immutable."""
    folder = scene.out / name

    def forbid() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            do("chattr", "+i", str(folder))
            scene.undo.callback(do, "chattr", "-i", str(folder))
        else:
            folder.chmod(0o500)
            scene.undo.callback(folder.chmod, 0o700)

    return scene.later(forbid, after) if after else scene.now(forbid)


def removed(scene: Scene, name: str) -> OnProgress:
    return scene.later(lambda: shutil.rmtree(scene.out / name))


def draft_left(scene: Scene) -> OnProgress:
    """What a writer leaves that lost its power half-way."""

    def leave() -> None:
        (scene.out / "labels").mkdir(parents=True)
        (scene.out / "labels" / ".part-0.parquet.0").write_bytes(b"PAR1 and not much more")

    return scene.now(leave)


def cut_short(scene: Scene, kind: str) -> OnProgress:
    """A finished output of which a file is damaged; the user then does as the message says."""

    def cut() -> None:
        shutil.copytree(scene.reference, scene.out)
        damaged = min((scene.out / kind).glob("*.parquet"))
        os.truncate(damaged, damaged.stat().st_size // 2)
        scene.undo.callback(damaged.unlink)

    return scene.now(cut)


# Inputs.


def input_gone(scene: Scene) -> OnProgress:
    video, away = _last(scene.videos), scene.out.parent / "away"

    def hide() -> None:
        shutil.move(video, away)
        scene.undo.callback(shutil.move, away, video)

    return scene.later(hide, after=0)


def input_replaced(scene: Scene, grows: bool) -> OnProgress:
    video, away = _last(scene.videos), scene.out.parent / "away"

    def replace() -> None:
        shutil.move(video, away)
        scene.undo.callback(os.replace, away, video)
        video.write_bytes(away.read_bytes() + bytes(1000) if grows else min(scene.videos.iterdir()).read_bytes())

    return scene.later(replace, after=0)


def _last(videos: Path) -> Path:
    return max(path for path in videos.iterdir() if not path.stem.endswith("9"))


# The object store.


def object_gone(scene: Scene) -> OnProgress:
    """Planning copies it and decoding does not find it. Hidden, not deleted: what is put again is another object."""
    door = scene.door
    door.key, door.request, door.answer, door.armed_by = _last(scene.videos).name, "HEAD", "404", "GET"
    return nothing


def hindered(scene: Scene, request: str, answer: str, share: float = 1.0, key: str = "", after: int = 0) -> OnProgress:
    """A share of the requests of a kind is answered in another way; see `Door`."""

    def shut() -> None:
        scene.door.answer, scene.door.share, scene.door.key = answer, share, key
        scene.door.request = request

    return scene.later(shut, after) if after else scene.now(shut)


def do(*command: str) -> None:
    """Run a tool of the system.

    Raises:
        CannotInjectError: it is not there, or not allowed.
    """
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotInjectError(f"there is no {command[0]} here") from error
    except subprocess.CalledProcessError as error:
        raise CannotInjectError(f"{' '.join(command)}: {error.stderr.strip()}") from error
