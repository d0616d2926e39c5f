import os
import socket
from pathlib import Path

import av
import pytest

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media.containers import FORMATS, refuse_references
from emolabel.media.probe import probe_file
from tests.media.media_files import write_video

MP4 = b"\x00\x00\x00\x20ftypisom"
EBML = b"\x1a\x45\xdf\xa3"


@pytest.mark.parametrize(
    "head",
    [
        b"#EXTM3U\n#EXTINF:3,\n/etc/hostname\n",
        b"\xef\xbb\xbf#EXTM3U\n",
        b"\n  #extm3u\n",
        b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        b"[playlist]\nFile1=http://localhost/\n",
        b'<?xml version="1.0"?><MPD></MPD>',
        b"<MPD></MPD>",
        b"<smil></smil>",
        b"<svg></svg>",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"rtsp://localhost/x",
        b"http://localhost/x",
        b"[Reference]\nRef1=http://localhost\n",
    ],
)
def test_references_are_refused_by_their_first_bytes(head: bytes) -> None:
    with pytest.raises(MediaError, match="not followed") as caught:
        refuse_references(head)
    assert caught.value.status is Status.UNSUPPORTED


@pytest.mark.parametrize("head", [MP4, EBML, b"RIFF\x00\x00\x00\x00AVI ", b"\x00\x00\x01\xba", b"<\x00\x00\x10mdat"])
def test_media_pass(head: bytes) -> None:
    refuse_references(head)


def status_of(path: Path) -> tuple[Status, str]:
    with pytest.raises(MediaError) as caught:
        probe_file(str(path), DecodeLimits())
    assert not any(sign in caught.value.reason for sign in ("Errno", "0x", str(path)))
    return caught.value.status, caught.value.reason


def test_what_is_not_a_regular_file_is_never_waited_for(tmp_path: Path) -> None:
    fifo, folder, link = tmp_path / "fifo.mp4", tmp_path / "folder.mp4", tmp_path / "dangling.mp4"
    os.mkfifo(fifo)
    folder.mkdir()
    link.symlink_to(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
        assert status_of(tmp_path / "socket.mp4")[0] is Status.UNSUPPORTED
    assert status_of(fifo) == (Status.UNSUPPORTED, "a named pipe, not a regular file")
    assert status_of(folder) == (Status.UNSUPPORTED, "a folder, not a regular file")
    assert status_of(Path("/dev/zero")) == (Status.UNSUPPORTED, "a device, not a regular file")
    assert status_of(link) == (Status.MISSING, "there is no such file")
    assert status_of(tmp_path / "nowhere") == (Status.MISSING, "there is no such file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.mp4"
    path.write_bytes(MP4)
    path.chmod(0)
    assert status_of(path) == (Status.DENIED, "no permission to read it")


def test_files_that_are_no_media(shared_videos: Path, tmp_path: Path) -> None:
    derived = shared_videos / "derived"
    assert status_of(derived / "empty_file.mp4") == (Status.UNREADABLE, "the file is empty (0 bytes)")
    assert status_of(derived / "text_named.mp4")[1] == "not a media file: FFmpeg finds no known container in it"
    status, reason = status_of(derived / "truncated_no_moov.mp4")
    assert status is Status.UNREADABLE
    assert "without a usable index (moov)" in reason
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(os.urandom(50_000))
    assert status_of(noise)[0] in (Status.UNREADABLE, Status.UNSUPPORTED)


def test_a_format_outside_the_list_is_named(tmp_path: Path) -> None:
    raw = write_video(tmp_path / "raw.mp4", format_name="h264")
    assert status_of(raw) == (Status.UNSUPPORTED, "its format (h264) is not one that is taken")


def test_a_playlist_hidden_behind_an_id3_tag_is_not_opened(tmp_path: Path, shared_videos: Path) -> None:
    target = shared_videos / "derived" / "noaudio_face.mp4"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n"
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 0, 10]) + b"\x00" * 10
    path = tmp_path / "song.mp4"
    path.write_bytes(tag + playlist.encode())
    assert status_of(path)[0] in (Status.UNSUPPORTED, Status.UNREADABLE)


def test_allowed_formats_are_known_to_ffmpeg() -> None:
    known = {name for entry in av.formats_available for name in entry.split(",")}
    assert set(FORMATS) <= known
