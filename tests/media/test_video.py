from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream

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


def read(path: Path, info: MediaInfo, numbers: list[int], *, use_decord: bool = True) -> tuple[str, FrameBatch]:
    """All batches as one, and the road that the reader began on."""
    reader = FrameReader(str(path), info, LIMITS, use_decord=use_decord)
    road = reader.road
    batches = list(reader.batches(np.array(numbers, np.int64)))
    reader.close()
    indices = np.concatenate([batch.indices for batch in batches] or [np.empty(0, np.int64)])
    height, width = (info.video.height, info.video.width) if info.video else (0, 0)
    frames = np.concatenate([batch.frames for batch in batches] or [np.empty((0, height, width, 3), np.uint8)])
    return road, FrameBatch(indices, frames)


def difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def some_frames(info: MediaInfo) -> list[int]:
    """The first, the last, and some in between and in a row."""
    assert info.video is not None
    n = info.video.n_frames_content
    return sorted({0, 1, 2, n // 3, n // 2, n // 2 + 1, n - 2, n - 1} & set(range(n)))


def test_both_roads_give_the_frames_of_a_plain_decode(shared_videos: Path) -> None:
    by_decord = 0
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
        for use_decord in (True, False):
            road, batch = read(path, info, wanted, use_decord=use_decord)
            assert batch.indices.tolist() == wanted, (path.name, road)
            # Chroma of 10-bit video is scaled differently by decord's old FFmpeg, along edges.
            tolerance = 5.0 if road == "decord" and "10bit" in path.name else 0.5
            assert difference(batch.frames, turned) < tolerance, (path.name, road)
            by_decord += road == "decord"
    assert by_decord >= 20


@pytest.mark.parametrize(
    ("name", "road"),
    [
        ("clear/face1_turning_handoverface_pexels.mp4", "decord"),
        ("clear/face1_speech_grid_bbaf2n.mpg", "pyav"),  # decord would give later frames, and say nothing
        ("clear/noface_cartoon_pyfeat.mp4", "pyav"),  # three frames outside the edit list
        ("clear/codec_av1_bars.mkv", "pyav"),
        ("clear/face1_profile_headpose_female_intel.gif", "pyav"),
        ("derived/cinepak_pcm_face_speech.avi", "pyav"),
    ],
)
def test_the_road_that_is_taken(shared_videos: Path, name: str, road: str) -> None:
    pytest.importorskip("decord")
    info = probe_file(str(shared_videos / name), LIMITS)
    assert read(shared_videos / name, info, [0])[0] == road


@pytest.mark.parametrize("use_decord", [True, False])
def test_frames_are_upright(shared_videos: Path, use_decord: bool) -> None:
    """The derived file is this clip turned, with a tag that turns it back."""
    turned = shared_videos / "derived" / "rot90_face_speech.mp4"
    upright = shared_videos / "clear" / "face1_speech_grid_bbaf2n.mpg"
    _, shown = read(turned, probe_file(str(turned), LIMITS), [5, 40], use_decord=use_decord)
    _, plain = read(upright, probe_file(str(upright), LIMITS), [5, 40])
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
    for use_decord in (True, False):
        reader = FrameReader(str(path), info, LIMITS, use_decord=use_decord)
        for numbers in ([40, 41, 59], [0, 1], [11, 12, 13, 30], [59], [5, 50]):
            batch = next(reader.batches(np.array(numbers, np.int64)))
            assert batch.indices.tolist() == numbers
            assert [number_of(frame) for frame in batch.frames] == numbers
        reader.close()


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """A list that grows with the stamp of each frame that PyAV decodes."""
    stamps: list[int | None] = []

    def counted(container: InputContainer, stream: VideoStream) -> Decoded[av.VideoFrame]:
        for stamp, frames in decode_video(container, stream):
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
    _, batch = read(path, info, list(range(90)), use_decord=False)
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
    for use_decord in (True, False):
        _, batch = read(path, info, [2, 3, 4, 8, 9], use_decord=use_decord)
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
    for use_decord in (True, False):
        _, batch = read(path, info, [0, 5], use_decord=use_decord)
        assert [number_of(frame) for frame in batch.frames] == [0, 5]


def test_odd_sizes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mkv", codec="ffv1", pixels="yuv444p", size=(101, 67), n_frames=5)
    info = probe_file(str(path), LIMITS)
    for use_decord in (True, False):
        _, batch = read(path, info, [4], use_decord=use_decord)
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
    _, batch = read(path, info, list(range(n)))
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
    for use_decord in (True, False):
        _, batch = read(path, info, list(range(50)), use_decord=use_decord)
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
    road, batch = read(path, info, list(range(n)))
    assert road == "pyav"
    assert n - 3 <= len(batch.indices) <= n
    assert [number_of(frame) for frame in batch.frames] == batch.indices.tolist()


def test_frames_out_of_range_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", n_frames=5)
    info = probe_file(str(path), LIMITS)
    for numbers in ([4, 5], [-1, 0], [2, 1], [1, 1]):
        with pytest.raises(ValueError, match="ascending frame numbers below 5"):
            read(path, info, numbers)
