"""Lures: a server, and files, that see who comes."""

import ctypes
import os
import select
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image

SECRET: Final = "hunter2"
_IN_ACCESS, _IN_OPEN = 0x1, 0x20


class Watch:
    """Counts connections to a loopback server, and opens and reads of some files (inotify).

    Raises:
        OSError: the system cannot watch; a watch that sees nothing would prove nothing, so both are tried first.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in files:
            if libc.inotify_add_watch(self._inotify, os.fsencode(path), _IN_OPEN | _IN_ACCESS) < 0:
                raise OSError(ctypes.get_errno(), f"inotify cannot watch {path}")
        files[0].read_bytes()
        socket.create_connection(self._server.getsockname()).close()
        if not self.opened() or not self.connected():
            raise OSError("the watch sees neither files nor connections here")

    @property
    def url(self) -> str:
        host, port = self._server.getsockname()
        return f"http://{host}:{port}"

    def opened(self) -> int:
        """Opens and reads since the last call."""
        n_events = 0
        while select.select([self._inotify], [], [], 0)[0]:
            events, at = os.read(self._inotify, 1 << 16), 0
            while at < len(events):
                _, _, _, name_bytes = struct.unpack_from("iIII", events, at)
                at += 16 + name_bytes
                n_events += 1
        return n_events

    def connected(self) -> int:
        """Connections since the last call; the backlog keeps more than it takes to see one."""
        n_connections = 0
        while select.select([self._server], [], [], 0)[0]:
            self._server.accept()[0].close()
            n_connections += 1
        return n_connections

    def close(self) -> None:
        self._server.close()
        os.close(self._inotify)


def make_secrets(folder: Path) -> tuple[Path, ...]:
    """Files worth stealing: a text, a picture, and clips that would decode."""
    folder.mkdir()
    text = folder / "secret.txt"
    text.write_text(f"password={SECRET}\n" * 100)
    picture = folder / "secret.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(picture)
    clips = [folder / "secret.ts", folder / "secret.mp4"]
    for clip in clips:
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 64
            for _ in range(25):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return text, picture, *clips
