from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media.probe import probe_file
from emolabel.types import MediaInfo, VideoInfo
from tests.media.media_files import boxes, overwrite, tone, write_sound, write_video

LIMITS = DecodeLimits()


def probe(path: Path) -> MediaInfo:
    return probe_file(str(path), LIMITS)


def video_of(path: Path) -> VideoInfo:
    video = probe(path).video
    assert video is not None
    return video


def outcome(path: Path) -> Status:
    try:
        probe(path)
    except MediaError as error:
        return error.status
    return Status.OK


# codec, width, height as displayed, clockwise turn, frames, end of the picture in s, audio codec, its rate
REAL = {
    "clear/codec_av1_bars.mkv": ("av1", 640, 360, 0, 125, 5.0, None),
    "clear/codec_hevc10bit_bars.mp4": ("hevc", 200, 200, 0, 30, 1.0, None),
    "clear/codec_vp8_canvas_recordrtc.webm": ("vp8", 320, 240, 0, 182, 6.042, ("vorbis", 44100)),
    "clear/codec_vp8vorbis_bunny_moviepy.webm": ("vp8", 1280, 720, 0, 24, 1.0, ("vorbis", 44100)),
    "clear/corrupt_h264_decord.mp4": ("h264", 1280, 720, 0, 50, 5.0, None),
    "clear/face1_profile_headpose_female_intel.gif": ("gif", 480, 270, 0, 23, 1.91, None),
    "clear/face1_speech_grid_bbaf2n.mpg": ("mpeg1video", 360, 288, 0, 75, 3.0, ("mp2", 44100)),
    "clear/face1_talkinghead_pyfeat_single_face.mp4": ("h264", 640, 360, 0, 72, 2.4, ("mp3", 44100)),
    "clear/face1_turning_handoverface_pexels.mp4": ("h264", 640, 360, 0, 472, 19.686, ("aac", 48000)),
    "clear/face_then_noface_vfr_hevc_pyfeat.mov": ("hevc", 960, 540, 0, 169, 6.402, ("aac", 44100)),
    "clear/failing_audio_moviepy.mp4": ("h264", 640, 360, 0, 280, 11.2, ("mp3", 44100)),
    "clear/multistream_nasa_13013.mp4": ("h264", 480, 270, 0, 390, 13.013, ("aac", 16000)),
    "clear/noface_bottle_noaudio_intel.mp4": ("h264", 640, 360, 0, 1189, 39.855, None),
    "clear/noface_cartoon_pyfeat.mp4": ("h264", 960, 540, 0, 95, 4.015, ("aac", 44100)),
    "clear/rot180_phone_home_moviepy_fire2.mp4": ("h264", 1280, 720, 180, 25, 2.38, ("aac", 48000)),
    "clear/rot180_phone_keyboard_decord.mov": ("h264", 568, 320, 180, 3, 0.1, None),
    "clear/rot90_phone_keyboard_decord.mov": ("h264", 320, 568, 90, 3, 0.1, None),
    "clear/signing_again_noaudio_intel.mkv": ("h264", 640, 480, 0, 77, 2.567, None),
    "derived/cinepak_pcm_face_speech.avi": ("cinepak", 176, 144, 0, 75, 3.0, ("pcm_s16le", 16000)),
    "derived/flv1_mp3_face_speech.flv": ("flv1", 360, 288, 0, 75, 3.05, ("mp3", 22050)),
    "derived/gray_ffv1_flac_face_speech.mkv": ("ffv1", 176, 144, 0, 75, 3.0, ("flac", 44100)),
    "derived/h263_face_speech.3gp": ("h263", 176, 144, 0, 75, 3.0, ("aac", 16000)),
    "derived/mjpeg_pcm_face_speech.mov": ("mjpeg", 360, 288, 0, 75, 3.0, ("pcm_s16le", 16000)),
    "derived/rot90_face_speech.mp4": ("h264", 360, 288, 270, 75, 3.0, ("aac", 44100)),
    "derived/two_faces_two_voices.mp4": ("h264", 720, 288, 0, 75, 3.0, ("aac", 44100)),
    "derived/vfr_face_speech.mp4": ("h264", 360, 288, 0, 50, 3.04, ("aac", 44100)),
    "derived/vp9_opus_face_speech.webm": ("vp9", 360, 288, 0, 75, 3.007, ("opus", 48000)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_videos: Path, name: str) -> None:
    codec, width, height, turn, n_frames, end_s, sound = REAL[name]
    info = probe(shared_videos / name)
    video = info.video
    assert video is not None
    found = (video.codec, video.width, video.height, video.rotation_deg, video.n_frames_content)
    assert found == (codec, width, height, turn, n_frames)
    assert info.end_s == pytest.approx(end_s, abs=2e-3)
    assert (sound is None) == (info.audio is None)
    if sound is not None and info.audio is not None:
        assert (info.audio.codec, info.audio.sample_rate_hz) == sound
    assert info.damage is None


def test_counts_are_those_of_a_full_decode(shared_videos: Path) -> None:
    """Every file but the damaged one, whose packets do not all decode."""
    seen = 0
    for path in sorted([*shared_videos.glob("clear/*"), *shared_videos.glob("derived/*")]):
        try:
            info = probe(path)
        except MediaError:
            continue
        if info.video is None or path.name.startswith("corrupt"):
            continue
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            assert stream is not None
            decoded = [frame.time for frame in container.decode(stream)]
        assert info.video.n_frames_content == len(decoded), path.name
        start_s = info.video.frame_times_s[0] - decoded[0]
        assert np.allclose(info.video.frame_times_s - start_s, decoded, atol=1e-6), path.name
        seen += 1
    assert seen >= 40


def test_a_header_counts_what_an_edit_list_hides(shared_videos: Path) -> None:
    video = video_of(shared_videos / "clear" / "noface_cartoon_pyfeat.mp4")
    assert (video.n_frames_header, video.n_frames_content) == (98, 95)


def test_audio_only(shared_videos: Path) -> None:
    for name in ("audio_only.m4a", "audio_only_named_mp4.mp4"):
        info = probe(shared_videos / "derived" / name)
        assert info.video is None
        assert (info.start_s, info.end_s) == (0.0, pytest.approx(2.978, abs=1e-3))


def test_sound_that_starts_late(shared_videos: Path) -> None:
    audio = probe(shared_videos / "clear" / "face_then_noface_vfr_hevc_pyfeat.mov").audio
    assert audio is not None
    assert audio.start_s == pytest.approx(107164 / 44100, abs=0.01)


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 200, 210, 220, 500, 1000, 1001, 1500]
    for name in ("vfr.mkv", "vfr.mp4"):
        video = video_of(write_video(tmp_path / name, stamps=stamps))
        assert np.allclose(video.frame_times_s, np.array(stamps) / 1000, atol=1e-4)
        assert video.variable_frame_rate


def test_the_clock_starts_where_the_container_starts(tmp_path: Path) -> None:
    video = video_of(write_video(tmp_path / "b.ts"))  # MPEG-TS begins at 1.4 s or so of its own clock
    assert np.allclose(video.frame_times_s, np.arange(50) / 25, atol=1e-6)
    assert video.end_s == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("name", "codec", "n_b_frames"),
    [("b.avi", "mpeg4", 2), ("plain.avi", "mpeg4", 0), ("b_h264.avi", "libx264", 2), ("b.mpg", "mpeg2video", 2)],
)
def test_containers_without_stamps(tmp_path: Path, name: str, codec: str, n_b_frames: int) -> None:
    video = video_of(write_video(tmp_path / name, codec=codec, b_frames=n_b_frames))
    assert video.n_frames_content == 50
    assert np.allclose(np.diff(video.frame_times_s), 0.04, atol=1e-6)
    assert video.seekable is (name != "b_h264.avi")


def test_hidden_vp8_frames_are_not_counted(tmp_path: Path) -> None:
    """The alt-ref frame of RFC 6386: decoded, never shown. Made by clearing the `show_frame` bit."""
    plain = write_video(tmp_path / "plain.webm", codec="libvpx", n_frames=20)
    path = tmp_path / "hidden.webm"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size == 0:
                continue
            data = bytearray(bytes(packet))
            if number == 15:
                data[0] &= ~0x10
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe = packet.is_keyframe
            copy.stream = stream
            target.mux(copy)
    times_s = video_of(path).frame_times_s
    assert len(times_s) == 19
    assert 0.6 not in times_s.round(3)


def test_cover_art_is_not_video(tmp_path: Path) -> None:
    cover = tmp_path / "cover.jpg"
    write_video(cover, codec="mjpeg", format_name="mjpeg", pixels="yuvj420p", n_frames=1)
    song = write_sound(tmp_path / "song.mp3", tone(1.0), codec="libmp3lame")
    picture = cover.read_bytes()
    body = b"\x00image/jpeg\x00\x03\x00" + picture  # ID3v2.3, APIC: encoding, MIME type, front cover, no description
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\x00\x00" + body
    size = len(frame)
    sync_safe = bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    path = tmp_path / "covered.mp3"
    path.write_bytes(b"ID3\x03\x00\x00" + sync_safe + frame + song.read_bytes())
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    info = probe(path)
    assert info.video is None
    assert info.audio is not None


def test_a_still_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "still.jpg", codec="mjpeg", format_name="mjpeg", pixels="yuvj420p", n_frames=1)
    info = probe(path)
    assert info.video is not None
    assert (info.video.n_frames_content, info.video.width) == (1, 160)
    assert info.duration_s > 0


def test_a_file_cut_after_its_index_says_so(shared_videos: Path, tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", container_options={"movflags": "faststart"}, n_frames=250)
    content = plain.read_bytes()
    assert list(boxes(content))[:2] == ["ftyp", "moov"], "the index stands before the samples"
    start, end = boxes(content)["mdat"]
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: (start + end) // 2])
    info = probe(path)
    assert info.video is not None
    assert info.video.n_frames_header == 250
    assert 20 < info.video.n_frames_content < 230
    assert info.damage is not None
    assert "cut short" in info.damage


def test_damaged_bytes_never_raise_anything_but_media_errors(shared_videos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for name in ("derived/noaudio_face.mp4", "derived/vp9_opus_face_speech.webm", "clear/face1_speech_grid_bbaf2n.mpg"):
        source = shared_videos / name
        size = source.stat().st_size
        for round_ in range(8):
            path = tmp_path / f"{round_}{source.suffix}"
            path.write_bytes(source.read_bytes())
            for at in rng.integers(0, size, 20).tolist():
                overwrite(path, path, at, rng.bytes(4))
            assert outcome(path) in (Status.OK, Status.UNREADABLE, Status.UNSUPPORTED)


def test_a_frame_that_is_too_big_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "big.mp4", n_frames=2, size=(1280, 720))
    with pytest.raises(MediaError, match="1280x720 px is bigger") as caught:
        probe_file(str(path), replace(LIMITS, max_frame_px=640 * 480))
    assert caught.value.status is Status.UNSUPPORTED


def test_an_endless_time_line_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mkv", stamps=[0, 40, 80, 30 * 86_400_000])
    with pytest.raises(MediaError, match="time line") as caught:
        probe(path)
    assert caught.value.status is Status.UNSUPPORTED


def test_a_time_line_that_starts_again_goes_on(tmp_path: Path) -> None:
    """Two recordings in one MPEG transport stream, as capture cards leave them."""
    one = write_video(tmp_path / "one.ts", n_frames=150)
    path = tmp_path / "twice.ts"
    path.write_bytes(one.read_bytes() * 2)
    info = probe(path)
    assert info.video is not None
    assert not info.video.seekable
    assert 295 <= info.video.n_frames_content <= 300
    assert info.damage is not None
    assert "jumps back" in info.damage
    assert info.end_s == pytest.approx(12.0, abs=0.3)


def test_a_stream_that_turns_up_late_is_no_failure(shared_videos: Path, tmp_path: Path) -> None:
    """FLV names no streams: a damaged tag may look like the first of another kind, in the middle of the file."""
    content = bytearray((shared_videos / "derived" / "flv1_mp3_face_speech.flv").read_bytes())
    at = 13
    tags = []
    while at + 11 < len(content):
        tags.append(at)
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    late = tags[len(tags) * 3 // 4]
    content[late] = 18  # script data, which FFmpeg makes a stream of its own
    path = tmp_path / "late.flv"
    path.write_bytes(bytes(content))
    video = video_of(path)
    assert 70 <= video.n_frames_content <= 75


def picture_far_from_sound(path: Path, far_ms: int, n_frames: int) -> Path:
    """Sound at 0, and frames of 40 ms each that begin `far_ms` later."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.ones((1, 16_000), np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 16_000, 0, Fraction(1, 16_000)
        packets = [*audio.encode(sound), *audio.encode(None)]
        for number in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 40 * number, Fraction(1, 1000)
            packets += video.encode(frame)
        for packet in [*packets, *video.encode(None)]:
            if packet.stream is video:
                assert packet.pts is not None
                assert packet.dts is not None
                packet.pts, packet.dts = packet.pts + far_ms, packet.dts + far_ms
            container.mux(packet)
    return path


@pytest.mark.parametrize("n_frames", [1, 25])
@pytest.mark.parametrize("far_ms", [10**15, 2**58, 2**61])
def test_frames_beyond_all_time_are_refused(far_ms: int, n_frames: int, tmp_path: Path) -> None:
    """So far out float64 gives neighbouring frames one time, and the last one no length."""
    with pytest.raises(MediaError) as caught:
        probe(picture_far_from_sound(tmp_path / "far.mkv", far_ms, n_frames))
    assert caught.value.status is Status.UNSUPPORTED
    assert "is damage, not a time" in caught.value.reason


@pytest.mark.parametrize("n_frames", [1, 25])
def test_frames_far_out_still_have_times_and_an_end(n_frames: int, tmp_path: Path) -> None:
    """30 years after the sound: within what float64 tells apart."""
    info = probe(picture_far_from_sound(tmp_path / "late.mkv", 10**12, n_frames))
    assert info.video is not None
    assert info.start_s == 1e9
    assert info.end_s == pytest.approx(1e9 + 0.04 * n_frames, abs=1e-6)
    assert np.allclose(info.video.frame_times_s - 1e9, 0.04 * np.arange(n_frames), atol=1e-6)
