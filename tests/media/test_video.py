from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream
from hypothesis import given, settings
from hypothesis import strategies as st

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError
from emolabel.media import pictures
from emolabel.media.pictures import PictureReader
from emolabel.media.probe import probe_file
from emolabel.media.streams import Decoded, decode_video
from emolabel.media.video import FrameReader
from emolabel.types import FrameBatch, MediaInfo
from tests.media.media_files import boxes, number_of, write_video

LIMITS = DecodeLimits()


def read(path: Path, info: MediaInfo, numbers: list[int]) -> FrameBatch:
    """All batches as one."""
    reader = FrameReader(str(path), info, LIMITS)
    batches = list(reader.batches(np.array(numbers, np.int64)))
    reader.close()
    indices = np.concatenate([batch.indices for batch in batches] or [np.empty(0, np.int64)])
    height, width = (info.video.height, info.video.width) if info.video else (0, 0)
    frames = np.concatenate([batch.frames for batch in batches] or [np.empty((0, height, width, 3), np.uint8)])
    return FrameBatch(indices, frames)


def difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def some_frames(info: MediaInfo) -> list[int]:
    """The first, the last, and some in between and in a row."""
    assert info.video is not None
    n = info.video.n_frames_content
    return sorted({0, 1, 2, n // 3, n // 2, n // 2 + 1, n - 2, n - 1} & set(range(n)))


def test_frames_are_those_of_a_plain_decode(shared_videos: Path) -> None:
    n_files = 0
    alike = set(shared_videos.glob("clear/face1_speech_grid_*.mpg")) - {*shared_videos.glob("clear/*_bbaf2n.mpg")}
    for path in {*shared_videos.glob("clear/*"), *shared_videos.glob("derived/*")} - alike:
        try:
            info = probe_file(str(path), LIMITS)
        except MediaError:
            continue
        if info.video is None or path.name.startswith("corrupt"):
            continue
        wanted = some_frames(info)
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            assert stream is not None
            decoded = enumerate(container.decode(stream))
            plain = [frame.to_ndarray(format="rgb24") for number, frame in decoded if number in wanted]
        turned = np.stack([np.rot90(frame, -info.video.rotation_deg // 90) for frame in plain])
        batch = read(path, info, wanted)
        assert batch.indices.tolist() == wanted, path.name
        assert np.array_equal(batch.frames, turned), path.name
        n_files += 1
    assert n_files >= 20


def test_frames_are_upright(shared_videos: Path) -> None:
    """The derived file is this clip turned, with a tag that turns it back."""
    turned = shared_videos / "derived" / "rot90_face_speech.mp4"
    upright = shared_videos / "clear" / "face1_speech_grid_bbaf2n.mpg"
    shown = read(turned, probe_file(str(turned), LIMITS), [5, 40])
    plain = read(upright, probe_file(str(upright), LIMITS), [5, 40])
    assert difference(shown.frames, plain.frames) < 6
    assert difference(shown.frames[:, ::-1, ::-1], plain.frames) > 20


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [
        ("a.mp4", "libx264", 2),
        ("a.mkv", "libx264", 2),
        ("a.ts", "libx264", 2),
        ("a.flv", "libx264", 2),
        ("a.avi", "libx264", 2),
        ("b.avi", "mpeg4", 2),
        ("a.mpg", "mpeg2video", 2),
        ("a.webm", "libvpx", 0),
        ("a.mxf", "mpeg2video", 2),
        ("a.wmv", "wmv2", 0),
    ],
)
def test_any_frame_in_any_order_of_requests(tmp_path: Path, name: str, codec: str, b_frames: int) -> None:
    path = write_video(tmp_path / name, codec=codec, b_frames=b_frames, n_frames=60, gop=12)
    info = probe_file(str(path), LIMITS)
    reader = FrameReader(str(path), info, LIMITS)
    for numbers in ([40, 41, 59], [0, 1], [11, 12, 13, 30], [59], [5, 50]):
        batch = next(reader.batches(np.array(numbers, np.int64)))
        assert batch.indices.tolist() == numbers
        assert [number_of(frame) for frame in batch.frames] == numbers
    reader.close()


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 as x264 makes it: of three B frames in a row, two are nobody's reference."""
    return write_video(tmp_path_factory.mktemp("pyramid") / "a.mp4", n_frames=200, b_frames=3, gop=60)


@settings(max_examples=25)
@given(st.lists(st.sets(st.integers(0, 199), max_size=12).map(sorted), min_size=1, max_size=4))
def test_frames_that_are_left_out_change_none_of_the_others(pyramid: Path, requests: list[list[int]]) -> None:
    info = probe_file(str(pyramid), LIMITS)
    reader = FrameReader(str(pyramid), info, LIMITS)
    for numbers in requests:
        batches = list(reader.batches(np.array(numbers, np.int64)))
        assert [k for batch in batches for k in batch.indices.tolist()] == numbers
        assert [number_of(frame) for batch in batches for frame in batch.frames] == numbers
    reader.close()


def test_windows_one_after_the_other_decode_no_frame_twice_and_many_never(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clips / "long.mp4"
    info = probe_file(str(path), LIMITS)
    assert info.video is not None
    n = info.video.n_frames_content
    wanted = [np.linspace(first, first + 99, 12).round().astype(np.int64) for first in range(0, n - 100, 100)]
    plain = read(path, info, list(range(n))).frames
    decoded = count_decoded(monkeypatch)
    reader = FrameReader(str(path), info, LIMITS)
    for numbers in wanted:
        (batch,) = reader.batches(numbers)
        assert np.array_equal(batch.frames, plain[numbers])
    reader.close()
    assert len(decoded) == len(set(decoded))
    assert 12 * len(wanted) < len(decoded) < 0.7 * n, "nearly half of its frames are nobody's reference"


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """A list that grows with the stamp of each frame that PyAV decodes."""
    stamps: list[int | None] = []

    def counted(
        container: InputContainer, stream: VideoStream, leave_out: Callable[[Any], bool]
    ) -> Decoded[av.VideoFrame]:
        for stamp, frames in decode_video(container, stream, leave_out):
            stamps.extend(frame.pts for frame in frames or ())
            yield stamp, frames

    monkeypatch.setattr(pictures, "decode_video", counted)
    return stamps


def test_a_long_broken_stretch_is_passed_over_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mov", codec="mjpeg", pixels="yuvj420p", n_frames=90)
    content = bytearray(path.read_bytes())
    start, end = boxes(bytes(content))["mdat"]
    third = (end - start) // 3
    content[start + third : end - third] = bytes(end - start - 2 * third)
    path.write_bytes(bytes(content))
    info = probe_file(str(path), LIMITS)
    decoded = count_decoded(monkeypatch)
    batch = read(path, info, list(range(90)))
    assert 50 <= len(batch.indices) <= 62
    assert [number_of(frame) for frame in batch.frames[-25:]] == list(range(65, 90))
    assert len(decoded) <= 90


def test_a_far_frame_is_reached_by_seeking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "long.ts", n_frames=3000, size=(64, 48), gop=25)
    info = probe_file(str(path), LIMITS)
    assert info.video is not None
    decoded = count_decoded(monkeypatch)
    with PictureReader(str(path), info.video, LIMITS) as reader:
        last = reader.picture(2990)
        assert last is not None
        assert number_of(last) == 2990 % 256
    assert len(decoded) < 150, "of 3000 frames"


def test_variable_frame_rate(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 200, 210, 220, 500, 1000, 1001, 1500]
    path = write_video(tmp_path / "vfr.mkv", stamps=stamps)
    info = probe_file(str(path), LIMITS)
    batch = read(path, info, [2, 3, 4, 8, 9])
    assert [number_of(frame) for frame in batch.frames] == [2, 3, 4, 8, 9]


@pytest.mark.parametrize(
    ("codec", "pixels", "name"),
    [
        ("libx264", "yuv444p", "a.mp4"),
        ("libx264", "yuv420p10le", "a.mkv"),
        ("libx264", "gray", "a.mp4"),
        ("mjpeg", "yuvj422p", "a.mov"),
        ("ffv1", "yuva420p", "a.mkv"),
        ("png", "rgba", "a.mov"),
    ],
)
def test_pixel_formats(tmp_path: Path, codec: str, pixels: str, name: str) -> None:
    path = write_video(tmp_path / name, codec=codec, pixels=pixels, n_frames=6, b_frames=0)
    info = probe_file(str(path), LIMITS)
    batch = read(path, info, [0, 5])
    assert [number_of(frame) for frame in batch.frames] == [0, 5]


def test_odd_sizes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mkv", codec="ffv1", pixels="yuv444p", size=(101, 67), n_frames=5)
    info = probe_file(str(path), LIMITS)
    batch = read(path, info, [4])
    assert batch.frames.shape == (1, 67, 101, 3)
    assert number_of(batch.frames[0]) == 4


def test_a_change_of_size_is_scaled_to_the_probed_one(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", n_frames=20)
    big = write_video(tmp_path / "big.ts", n_frames=20, size=(320, 192))
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + big.read_bytes())
    info = probe_file(str(path), LIMITS)
    assert info.video is not None
    n = info.video.n_frames_content
    batch = read(path, info, list(range(n)))
    assert batch.frames.shape[1:] == (96, 160, 3)
    assert len(batch.indices) >= 36


def test_batches_stay_below_their_size(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", n_frames=20)
    info = probe_file(str(path), LIMITS)
    frame_bytes = 160 * 96 * 3
    for batch_bytes, sizes in ((3 * frame_bytes, [3, 3, 3, 1]), (1, [1] * 10)):
        reader = FrameReader(str(path), info, replace(LIMITS, batch_bytes=batch_bytes))
        batches = list(reader.batches(np.arange(10)))
        reader.close()
        assert [len(batch.frames) for batch in batches] == sizes


def test_frames_that_do_not_decode_are_left_out(shared_videos: Path) -> None:
    path = shared_videos / "clear" / "corrupt_h264_decord.mp4"
    info = probe_file(str(path), LIMITS)
    batch = read(path, info, list(range(50)))
    assert len(batch.indices) == 48, "one packet is refused, and one frame is flagged corrupt"
    assert np.all(np.diff(batch.indices) > 0)


def test_a_file_cut_after_its_index_gives_what_it_holds(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", container_options={"movflags": "faststart"}, n_frames=60)
    start, end = boxes(plain.read_bytes())["mdat"]
    path = tmp_path / "cut.mp4"
    path.write_bytes(plain.read_bytes()[: (start + end) // 2])
    info = probe_file(str(path), LIMITS)
    assert info.video is not None
    n = info.video.n_frames_content
    batch = read(path, info, list(range(n)))
    assert n - 3 <= len(batch.indices) <= n
    assert [number_of(frame) for frame in batch.frames] == batch.indices.tolist()


def test_frames_out_of_range_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", n_frames=5)
    info = probe_file(str(path), LIMITS)
    for numbers in ([4, 5], [-1, 0], [2, 1], [1, 1]):
        with pytest.raises(ValueError, match="ascending frame numbers below 5"):
            read(path, info, numbers)
