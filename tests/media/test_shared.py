import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError
from emolabel.media.isolate import IsolatedMedia
from emolabel.media.probe import probe_file
from emolabel.media.shared import NOTHING, FrameRoom, SharedFrames
from tests.media.media_files import number_of, write_video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory that only Linux has")

LIMITS = DecodeLimits()


@pytest.fixture
def memory() -> Iterator[SharedFrames]:
    shared = SharedFrames(1 << 20)
    yield shared
    os.close(shared.fd)


def test_what_the_child_writes_the_parent_sees(memory: SharedFrames) -> None:
    room = FrameRoom(memory.fd)
    frames = room.array((2, 3, 4, 3))
    frames[:] = np.arange(72, dtype=np.uint8).reshape(frames.shape)
    assert room.holds(frames)
    assert room.holds(frames[:1])
    assert memory.first(72).tolist() == list(range(72))
    with pytest.raises(ValueError, match="buffer"):
        memory.first((1 << 20) + 1)


def test_the_child_cannot_take_it_away(memory: SharedFrames) -> None:
    """Reading what is not there any more would kill the parent."""
    for size in (0, 1 << 21):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.fd, size)


def test_emptied_memory_goes_back_to_the_system(memory: SharedFrames) -> None:
    room = FrameRoom(memory.fd)
    room.array((1 << 20,))[:] = 1
    assert os.fstat(memory.fd).st_blocks > 0
    room.empty()
    assert os.fstat(memory.fd).st_blocks == 0
    room.array((10,))[:] = 2
    assert memory.first(11).tolist() == [2] * 10 + [0]


@pytest.mark.parametrize("fd", [NOTHING, "small"])
def test_what_does_not_fit_goes_elsewhere(memory: SharedFrames, fd: int | str) -> None:
    room = FrameRoom(NOTHING if fd == NOTHING else memory.fd)
    frames = room.array(((1 << 20) + 1,))
    frames[:] = 3
    assert not room.holds(frames)


@pytest.mark.parametrize("way", ["shared", "too big for it", "no such memory"])
def test_frames_arrive_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    path = str(write_video(tmp_path / "a.mp4", n_frames=30))
    info = probe_file(path, LIMITS)
    if way == "no such memory":
        monkeypatch.delattr(os, "memfd_create")
    looked: list[int] = []
    first = SharedFrames.first
    monkeypatch.setattr(SharedFrames, "first", lambda self, n: looked.append(n) or first(self, n))
    with IsolatedMedia(replace(LIMITS, batch_bytes=1000 if way == "too big for it" else LIMITS.batch_bytes)) as media:
        seen = [number_of(frame) for batch in media.frames(path, info, np.arange(30)) for frame in batch.frames]
    assert seen == list(range(30))
    assert looked == ([30 * 160 * 96 * 3] if way == "shared" else [])


def test_an_answer_about_more_than_there_is_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that a file has taken over may say anything."""
    path = str(write_video(tmp_path / "a.mp4", n_frames=30))
    with IsolatedMedia(LIMITS) as media:
        answers = [
            ({"n": 1, "shared": True}, np.zeros(0, np.uint8)),
            ({"n": 10**9, "shared": True}, np.zeros(8, np.uint8)),
            ({"n": 10**30, "shared": True}, np.zeros(8, np.uint8)),
            ({"n": float("inf")}, np.zeros(8, np.uint8)),
            ({"n": -1, "shared": True}, np.zeros(0, np.uint8)),
            ({"n": 1, "shared": True}, np.zeros(9, np.uint8)),
            ({"n": 1}, np.zeros(8, np.uint8)),
            ({}, np.zeros(8, np.uint8)),
        ]
        for answer in answers:
            media.probe(path)
            monkeypatch.setattr(media, "_ask", lambda *_, answer=answer, **__: answer)
            with pytest.raises(MediaError, match="nonsense"):
                media.next_batch(30, 160 * 96 * 3)
            monkeypatch.undo()
