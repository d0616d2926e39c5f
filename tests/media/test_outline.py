"""A sparse copy of an MP4, with its outline and the extents of a stretch, stands for the whole of it."""

import os
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError
from emolabel.media.audio import SoundReader
from emolabel.media.extents import Extents
from emolabel.media.outline import ByteRange, outline, outline_suffices
from emolabel.media.probe import probe_file
from emolabel.media.video import FrameReader
from emolabel.media.windows import frames_in
from emolabel.types import MediaInfo, Window
from tests.media.media_files import boxes, overwrite, tone, with_edits, write_sound, write_video

LIMITS = DecodeLimits()
HEAD = 100_000
"""Bytes of the packets that come with the outline: the first dozen frames of these files take less."""
SECONDS = 40.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grainy bars with B frames, a key frame every ten seconds, and AAC; the index is at the end."""
    return write_sound(
        tmp_path_factory.mktemp("film") / "f.mp4", tone(SECONDS), codec="aac", with_video_s=SECONDS, grain=50
    )


def ranges_of(path: Path) -> list[ByteRange] | None:
    content = path.read_bytes()
    return outline(len(content), lambda begin, n: content[begin : begin + n], HEAD)


def sparse(path: Path, ranges: Iterable[ByteRange], target: Path) -> Path:
    """A copy with zeros where nothing was asked for."""
    content = path.read_bytes()
    target.write_bytes(b"")
    os.truncate(target, len(content))
    with open(target, "r+b") as file:
        for start, stop in ranges:
            file.seek(start)
            file.write(content[start:stop])
    return target


def seen(path: Path, info: MediaInfo, start_s: float, end_s: float) -> bytes:
    assert info.video is not None
    reader = FrameReader(str(path), info, LIMITS)
    wanted = np.array(frames_in(Window(0, start_s, end_s), info.video.frame_times_s), np.int64)
    frames = b"".join(batch.frames.tobytes() for batch in reader.batches(wanted))
    reader.close()
    return frames


def heard(path: Path, info: MediaInfo, start_s: float, end_s: float) -> bytes:
    assert info.audio is not None
    rate = info.audio.sample_rate_hz
    with closing(SoundReader(str(path), info.audio)) as reader:
        return reader.stretch(round(start_s * rate), round((end_s - start_s) * rate)).samples.tobytes()


def test_the_outline_tells_what_the_whole_file_tells(film: Path, tmp_path: Path) -> None:
    ranges = ranges_of(film)
    assert ranges is not None
    wanted = sum(stop - start for start, stop in ranges)
    assert wanted < film.stat().st_size / 2
    begin, end = boxes(film.read_bytes())["mdat"]
    assert ranges == [(0, begin + HEAD), (end, film.stat().st_size)]
    whole, outlined = probe_file(str(film), LIMITS), probe_file(str(sparse(film, ranges, tmp_path / "o.mp4")), LIMITS)
    assert outline_suffices(outlined)
    assert whole.video is not None
    assert outlined.video is not None
    assert np.array_equal(whole.video.frame_times_s, outlined.video.frame_times_s)
    assert {**vars(whole.video), "frame_times_s": 0} == {**vars(outlined.video), "frame_times_s": 0}
    assert {**vars(whole), "video": 0} == {**vars(outlined), "video": 0}


@settings(max_examples=15)
@given(start=st.floats(0, SECONDS - 1), length=st.floats(0.1, 8))
def test_a_stretch_decodes_to_the_same_bits(
    film: Path, tmp_path_factory: pytest.TempPathFactory, start: float, length: float
) -> None:
    info, end = probe_file(str(film), LIMITS), min(start + length, SECONDS)
    outlined = ranges_of(film)
    assert outlined is not None
    target = tmp_path_factory.mktemp("sparse") / "s.mp4"
    found = Extents(str(sparse(film, outlined, target))).of(start, end, gap_bytes=0)
    assert all(0 <= a < b <= film.stat().st_size for a, b in found)
    assert all(b < c for (_, b), (c, _) in pairwise(found))
    assert sum(b - a for a, b in found) < film.stat().st_size * 3 / 4  # eight seconds, and ten before them at most
    partly = sparse(film, [*outlined, *found], target)
    assert seen(partly, info, start, end) == seen(film, info, start, end)
    assert heard(partly, info, start, end) == heard(film, info, start, end)


def test_without_the_extents_it_does_not(film: Path, tmp_path: Path) -> None:
    """What the check above compares is not there by chance."""
    info, outlined = probe_file(str(film), LIMITS), ranges_of(film)
    assert outlined is not None
    partly = sparse(film, outlined, tmp_path / "s.mp4")
    assert heard(film, info, 30.0, 32.0)
    assert seen(partly, info, 30.0, 32.0) != seen(film, info, 30.0, 32.0)
    with pytest.raises(MediaError, match="none of the"):
        heard(partly, info, 30.0, 32.0)


def test_an_index_that_goes_back_in_time_is_not_relied_on(film: Path, tmp_path: Path) -> None:
    """Two segments of an edit list: the second begins with packets that stand before the end of the first."""
    edited = with_edits(film, tmp_path / "edited.mp4", [(0.2, 10.0), (3.0, 10.0)])
    assert probe_file(str(edited), LIMITS).end_s == pytest.approx(20.0, abs=0.5)
    with pytest.raises(MediaError, match="goes back in time"):
        Extents(str(edited))


def test_a_start_that_does_not_decode_is_no_outline(film: Path, tmp_path: Path) -> None:
    """The first dozen frames do not fit into what the outline brings: nothing has confirmed their stamps."""
    content = film.read_bytes()
    ranges = outline(len(content), lambda begin, n: content[begin : begin + n], 8000)
    assert ranges is not None
    assert not outline_suffices(probe_file(str(sparse(film, ranges, tmp_path / "o.mp4")), LIMITS))


def test_a_stretch_takes_its_share(film: Path) -> None:
    """Five of forty seconds, with the five since the key frame before them."""
    size = film.stat().st_size
    fetched = sum(stop - start for start, stop in Extents(str(film)).of(25.0, 30.0, gap_bytes=0))
    assert size / 5 < fetched < size / 3


def test_files_without_an_index_of_their_own_are_wanted_whole(film: Path, tmp_path: Path) -> None:
    assert ranges_of(write_video(tmp_path / "a.mkv", n_frames=1000)) is None
    assert ranges_of(write_video(tmp_path / "a.ts", n_frames=1000)) is None
    fragmented = {"movflags": "frag_keyframe+empty_moov"}
    assert ranges_of(write_video(tmp_path / "f.mp4", n_frames=1000, container_options=fragmented)) is None
    assert ranges_of(write_video(tmp_path / "short.mp4", n_frames=20)) is None


def test_boxes_that_lie_are_no_outline(film: Path, tmp_path: Path) -> None:
    at, _ = boxes(film.read_bytes())["mdat"]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film.read_bytes()[:-100_000])
    assert ranges_of(cut) is None
    for lie in (b"\0\0\0\x07", b"\xff\xff\xff\xff"):
        assert ranges_of(overwrite(film, tmp_path / "lie.mp4", at, lie)) is None
    assert ranges_of(overwrite(film, tmp_path / "name.mp4", at + 4, b"junk")) is None


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_walked_through_in_few_steps(content: bytes, size: int) -> None:
    steps = []

    def read_at(begin: int, n: int) -> bytes:
        steps.append(begin)
        return content[begin : begin + n]

    ranges = outline(size, read_at, 10)
    assert len(steps) <= 64
    assert ranges is None or all(0 <= a <= b <= size for a, b in ranges)
