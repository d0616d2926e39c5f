import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media.isolate import IsolatedMedia
from emolabel.media.probe import probe_file
from emolabel.types import MediaInfo
from tests.media.media_files import boxes, number_of, tone, write_sound, write_video

LIMITS = DecodeLimits()
linux = pytest.mark.skipif(sys.platform != "linux", reason="a limit that only Linux has")


@pytest.fixture(scope="module")
def shared_media() -> Iterator[IsolatedMedia]:
    with IsolatedMedia(LIMITS) as media:
        yield media


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """100 numbered frames, with 4 s of sound."""
    folder = tmp_path_factory.mktemp("clips")
    return str(write_sound(folder / "clip.mp4", tone(4.0), codec="aac", with_video_s=4.0))


@pytest.fixture(scope="module")
def stream_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """100 numbered frames in a container without an index."""
    return str(write_video(tmp_path_factory.mktemp("clips") / "clip.ts", n_frames=100))


def probed(path: str) -> MediaInfo:
    return probe_file(path, LIMITS)


def pid_of(media: IsolatedMedia) -> int:
    pid = media.child_pid
    assert pid is not None
    return pid


def is_gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process ends soon: not there any more, or a zombie of someone else."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def numbers(media: IsolatedMedia, path: str, wanted: list[int]) -> list[int]:
    stream = media.frames(path, probed(path), np.array(wanted))
    return [number_of(frame) for batch in stream for frame in batch.frames]


def test_a_probe_crosses_the_border_unchanged(shared_media: IsolatedMedia, shared_videos: Path) -> None:
    for name in ("clear/face_then_noface_vfr_hevc_pyfeat.mov", "derived/audio_only.m4a", "clear/codec_av1_bars.mkv"):
        path = str(shared_videos / name)
        ours, theirs = probed(path), shared_media.probe(path)
        assert (ours.container, ours.duration_header_s, ours.audio, ours.damage) == (
            theirs.container,
            theirs.duration_header_s,
            theirs.audio,
            theirs.damage,
        )
        assert (ours.video is None) == (theirs.video is None)
        if ours.video is not None and theirs.video is not None:
            assert np.array_equal(ours.video.frame_times_s, theirs.video.frame_times_s)
            assert replace(ours.video, frame_times_s=np.empty(0)).__dict__.keys() == theirs.video.__dict__.keys()


def test_errors_cross_the_border(shared_media: IsolatedMedia, shared_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        shared_media.probe(str(shared_videos / "derived" / "empty_file.mp4"))
    assert (caught.value.status, caught.value.reason) == (Status.UNREADABLE, "the file is empty (0 bytes)")
    before = shared_media.child_pid
    with pytest.raises(MediaError) as caught:
        shared_media.probe(str(tmp_path / "nowhere.mp4"))
    assert caught.value.status is Status.MISSING
    assert shared_media.child_pid == before, "a bad file costs no child"


def test_names_that_are_not_utf8(shared_media: IsolatedMedia, clip: str, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\xe9 \xf0\x9f\x98\x80\n.mp4")
    os.link(clip, path) if os.stat(clip).st_dev == tmp_path.stat().st_dev else Path(path).write_bytes(
        Path(clip).read_bytes()
    )
    assert shared_media.probe(path).video is not None


def test_frames_and_sound_arrive(shared_media: IsolatedMedia, clip: str, stream_clip: str) -> None:
    for path in (clip, stream_clip):
        stream = shared_media.frames(path, probed(path), np.array([0, 7, 8, 99]))
        batches = list(stream)
        assert [batch.indices.tolist() for batch in batches] == [[0, 7, 8, 99]]
        assert [number_of(frame) for frame in batches[0].frames] == [0, 7, 8, 99]
        assert stream.damage is None
    sound = shared_media.audio(clip, probed(clip), 1.0, 2.5, 22_050)
    assert sound.samples.shape == (33_075,)
    assert sound.covered_s == pytest.approx(1.5)
    assert 0.3 < np.abs(sound.samples).max() < 0.7


def test_batches_come_one_by_one_and_requests_may_be_mixed(clip: str, stream_clip: str) -> None:
    limits = replace(LIMITS, batch_bytes=160 * 96 * 3 * 10)
    with IsolatedMedia(limits) as media:
        info, other = probed(clip), probed(stream_clip)
        stream = media.frames(clip, info, np.arange(100))
        first = next(stream)
        assert [number_of(frame) for frame in first.frames] == list(range(10))
        media.audio(clip, info, 0.0, 1.0, 16_000)
        assert numbers(media, stream_clip, [50, 51]) == [50, 51]
        left = media.frames(stream_clip, other, np.arange(20))
        assert len(next(left).frames) == 10
        media.audio(clip, info, 0.0, 1.0, 16_000)
        assert [number_of(frame) for frame in next(left).frames] == list(range(10, 20))
        interleaved = media.frames(stream_clip, other, np.arange(100))
        for expected in range(10, 100, 10):
            assert [number_of(frame) for frame in next(stream).frames] == list(range(expected, expected + 10))
            assert [number_of(f) for f in next(interleaved).frames] == list(range(expected - 10, expected))
        with pytest.raises(StopIteration):
            next(stream)


def test_an_abandoned_stream_does_no_harm(clip: str, stream_clip: str) -> None:
    limits = replace(LIMITS, batch_bytes=160 * 96 * 3 * 4)
    with IsolatedMedia(limits) as media:
        for path in (clip, stream_clip, clip):
            next(media.frames(path, probed(path), np.arange(100)))
            assert numbers(media, path, [20, 90]) == [20, 90]


def test_damage_is_told_after_the_last_batch(shared_media: IsolatedMedia, shared_videos: Path) -> None:
    path = str(shared_videos / "clear" / "corrupt_h264_decord.mp4")
    stream = shared_media.frames(path, shared_media.probe(path), np.arange(50))
    assert sum(len(batch.indices) for batch in stream) == 48
    assert stream.damage == "2 of 50 wanted frames could not be decoded"


def test_flipped_bytes_leave_no_doubtful_frames(
    shared_media: IsolatedMedia, shared_videos: Path, tmp_path: Path
) -> None:
    """With 60 bytes flipped some frames do not decode: they are left out, and said to be missing."""
    content = bytearray((shared_videos / "clear" / "face1_turning_handoverface_pexels.mp4").read_bytes())
    start, end = boxes(bytes(content))["mdat"]
    for at in np.random.default_rng(60).integers(start + 1000, end, 60).tolist():
        content[at] ^= 0xFF
    path = str(tmp_path / "flipped.mp4")
    Path(path).write_bytes(bytes(content))
    stream = shared_media.frames(path, probed(path), np.arange(160))
    n_seen = sum(len(batch.indices) for batch in stream)
    assert 80 < n_seen < 160
    assert stream.damage == f"{160 - n_seen} of 160 wanted frames could not be decoded"


def test_requests_that_make_no_sense_are_refused_here(shared_media: IsolatedMedia, clip: str, tmp_path: Path) -> None:
    info = probed(clip)
    for indices in ([5, 5], [6, 5], [-1], [100]):
        with pytest.raises(ValueError, match="ascending frame numbers below 100"):
            shared_media.frames(clip, info, np.array(indices))
    sound = str(write_sound(tmp_path / "a.wav", tone(1.0)))
    with pytest.raises(ValueError, match="a file with a picture"):
        shared_media.frames(sound, probed(sound), np.array([0]))
    assert list(shared_media.frames(clip, info, np.array([], np.int64))) == []


def test_a_hanging_decoder_is_killed_at_its_deadline(clip: str) -> None:
    with IsolatedMedia(replace(LIMITS, open_timeout_s=30.0)) as media:
        media.probe(clip)
        stuck = pid_of(media)
        os.kill(stuck, signal.SIGSTOP)
        media.limits = replace(LIMITS, open_timeout_s=0.3)
        with pytest.raises(MediaError) as caught:
            media.probe(clip)
        assert (caught.value.status, caught.value.reason) == (Status.TIMEOUT, "decoding passed its deadline of 0.3 s")
        assert is_gone(stuck)
        media.limits = LIMITS
        assert media.probe(clip).video is not None
        assert pid_of(media) != stuck


def test_a_crash_is_told_by_its_signal(stream_clip: str) -> None:
    with IsolatedMedia(LIMITS) as media:
        media.probe(stream_clip)
        victim = pid_of(media)
        os.kill(victim, signal.SIGSTOP)
        threading.Timer(0.3, _crash, (victim,)).start()
        with pytest.raises(MediaError) as caught:
            media.probe(stream_clip)
        assert (caught.value.status, caught.value.reason) == (Status.CRASHED, "the decoder crashed (SIGSEGV)")
        assert media.probe(stream_clip).video is not None


def _crash(pid: int) -> None:
    os.kill(pid, signal.SIGSEGV)
    os.kill(pid, signal.SIGCONT)


def _killed_soon(media: IsolatedMedia) -> int:
    """Stops the child, so that it is busy with the next request when SIGKILL comes."""
    victim = pid_of(media)
    os.kill(victim, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    return victim


def test_where_a_child_is_killed_another_one_is_asked(clip: str) -> None:
    with IsolatedMedia(LIMITS) as media:
        expected = media.probe(clip)
        victim = _killed_soon(media)
        assert media.probe(clip) is not None
        assert pid_of(media) != victim
        limits = replace(LIMITS, batch_bytes=160 * 96 * 3 * 10)
    with IsolatedMedia(limits) as media:
        stream = media.frames(clip, expected, np.arange(40))
        seen = [number_of(frame) for frame in next(stream).frames]
        _killed_soon(media)
        seen += [number_of(frame) for batch in stream for frame in batch.frames]
        assert seen == list(range(40))


def test_a_file_whose_child_is_killed_each_time_is_given_up(clip: str) -> None:
    with IsolatedMedia(replace(LIMITS, batch_bytes=160 * 96 * 3 * 5)) as media:
        stream = media.frames(clip, probed(clip), np.arange(40))
        for _ in range(4):
            next(stream)
            _killed_soon(media)
        with pytest.raises(MediaError, match="killed from outside") as caught:
            next(stream)
        assert caught.value.status is Status.OUT_OF_MEMORY


def test_a_child_that_died_between_requests_is_replaced(clip: str) -> None:
    with IsolatedMedia(LIMITS) as media:
        media.probe(clip)
        first = pid_of(media)
        os.kill(first, signal.SIGKILL)
        assert is_gone(first)
        assert media.probe(clip).video is not None


def test_a_crash_ends_the_stream(stream_clip: str) -> None:
    limits = replace(LIMITS, batch_bytes=160 * 96 * 3 * 10)
    with IsolatedMedia(limits) as media:
        stream = media.frames(stream_clip, probed(stream_clip), np.arange(40))
        next(stream)
        victim = pid_of(media)
        os.kill(victim, signal.SIGSTOP)
        threading.Timer(0.3, _crash, (victim,)).start()
        with pytest.raises(MediaError, match="SIGSEGV"):
            next(stream)


@linux
def test_memory_is_limited(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "big.mkv", codec="ffv1", size=(4096, 4096), n_frames=3))
    info = probed(path)
    with IsolatedMedia(replace(LIMITS, memory_mb=256, batch_bytes=1 << 30)) as media:
        with pytest.raises(MediaError) as caught:
            list(media.frames(path, info, np.arange(3)))
        assert caught.value.status is Status.OUT_OF_MEMORY
        assert caught.value.reason == "decoding needs more than its 256 MB of memory"


def test_the_child_is_recycled(clip: str) -> None:
    with IsolatedMedia(replace(LIMITS, recycle_after=2)) as media:
        pids = []
        for _ in range(5):
            media.probe(clip)
            pids.append(pid_of(media))
        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
        assert is_gone(pids[0])


def test_nothing_leaks_over_many_requests_and_children(clip: str) -> None:
    own = psutil.Process()
    with IsolatedMedia(LIMITS) as media:
        media.probe(clip)
        before = own.num_fds()
        for _ in range(300):
            media.probe(clip)
        fds_of_child = psutil.Process(pid_of(media)).num_fds()
        assert fds_of_child <= 10
        for _ in range(5):
            media.close()
            media.probe(clip)
        assert own.num_fds() == before
    assert own.num_fds() < before
    assert [child for child in own.children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_a_child_goes_with_its_owner(clip: str) -> None:
    media = IsolatedMedia(LIMITS)
    media.probe(clip)
    pid = pid_of(media)
    del media
    assert is_gone(pid)


@linux
def test_a_child_dies_with_its_parent(clip: str) -> None:
    script = """
        import sys, time
        from emolabel.config import DecodeLimits
        from emolabel.media.isolate import IsolatedMedia
        media = IsolatedMedia(DecodeLimits())
        media.probe(sys.argv[1])
        print(media.child_pid, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), clip]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    assert is_gone(child)


def test_it_works_from_another_thread(clip: str) -> None:
    seen: list[list[int]] = []
    with IsolatedMedia(LIMITS) as media:
        for wanted in ([1, 2], [60]):
            thread = threading.Thread(target=lambda wanted=wanted: seen.append(numbers(media, clip, wanted)))
            thread.start()
            thread.join()
    assert seen == [[1, 2], [60]]


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, n_frames=20)
    with IsolatedMedia(LIMITS) as media:
        assert numbers(media, str(path), [3]) == [3]
        write_video(tmp_path / "b.mp4", n_frames=40)
        os.replace(tmp_path / "b.mp4", path)
        assert numbers(media, str(path), [33]) == [33]


def in_child(code: str) -> str:
    """What a confined process prints."""
    script = f"""
        import os
        from emolabel.media.sandbox import confine
        confine(1024, os.getppid())
        {textwrap.indent(textwrap.dedent(code), " " * 8).strip()}
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@linux
def test_a_confined_process_has_no_network_no_programs_and_no_files(tmp_path: Path) -> None:
    assert (
        in_child("""
        import socket
        try:
            socket.socket()
        except PermissionError:
            print("refused")
    """)
        == "refused"
    )
    assert (
        in_child("""
        try:
            os.execv("/bin/true", ["true"])
        except PermissionError:
            print("refused")
    """)
        == "refused"
    )
    target = tmp_path / "written"
    assert (
        in_child(f"""
        try:
            with open({str(target)!r}, "wb") as file:
                file.write(b"x")
        except OSError:
            print("refused")
    """)
        == "refused"
    )
    assert target.stat().st_size == 0
    assert (
        in_child("""
        try:
            bytearray(2 << 30)
        except MemoryError:
            print("refused")
    """)
        == "refused"
    )


def modules_of(imported: str) -> set[str]:
    """What a fresh interpreter has loaded after one import."""
    code = f"import sys, {imported}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_child_is_light_and_knows_no_secrets(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("HF_TOKEN", "hush")
    with IsolatedMedia(LIMITS) as media:
        media.probe(clip)
        environment = psutil.Process(pid_of(media)).environ()
        assert "hush" not in environment.values()
    assert modules_of("emolabel.media.service").isdisjoint({"torch", "pandas", "ray"})
    assert modules_of("emolabel.media.isolate").isdisjoint({"torch", "av"}), "only the child decodes"


def test_no_file_reaches_the_network_or_another_file(tmp_path: Path, shared_videos: Path) -> None:
    """Playlists named as videos, with a server of ours in them: it must see no one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"
        local = shared_videos / "derived" / "noaudio_face.mp4"
        texts = {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{url}\n#EXT-X-ENDLIST\n",
            "hls_local": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{local}\n#EXT-X-ENDLIST\n",
            "hls_late": f"\x00\n#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{url}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile '{url}'\n",
            "concat_local": f"ffconcat version 1.0\nfile '{local}'\n",
            "dash": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>',
            "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
            "sdp_late": "s=x\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
            "rtsptext": f"RTSPtext\r\n{url}",
            "link": url,
            "imf": f'<?xml version="1.0"?><AssetMap><Path>{url}</Path></AssetMap>',
        }
        with IsolatedMedia(LIMITS) as media:
            for name, text in texts.items():
                path = tmp_path / f"{name}.mp4"
                path.write_text(text)
                with pytest.raises(MediaError) as caught:
                    media.probe(str(path))
                assert caught.value.status in (Status.UNSUPPORTED, Status.UNREADABLE), name
            for odd in (url, f"concat:{local}|{local}", f"subfile,,start,0,end,0,,:{local}", f"file:{local}", "pipe:0"):
                with pytest.raises(MediaError) as caught:
                    media.probe(odd)
                assert caught.value.status is Status.MISSING, odd
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
