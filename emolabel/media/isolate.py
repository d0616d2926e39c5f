"""Media read in a killable child: what the rest of the package uses.

No file can hang, crash or exhaust the caller: each answer has a deadline, the child a memory limit, and after any
failure the next request gets a fresh one. What the child may do is in `emolabel.media.sandbox`, which files are
opened at all in `emolabel.media.containers`.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType
from typing import Final

import numpy as np

from emolabel.config import DecodeLimits
from emolabel.errors import MediaError, Status
from emolabel.media import wire
from emolabel.media.outline import ByteRange
from emolabel.media.process import ChildProcess, KilledFromOutside
from emolabel.types import AudioClip, FrameBatch, Int64Array, MediaInfo, UInt8Array

_DEADLY: Final = (Status.TIMEOUT, Status.CRASHED, Status.OUT_OF_MEMORY, Status.FAILED)
"""After these the child is replaced."""

_KILLS_FORGIVEN: Final = 3
"""For one answer, or one stream of frames: the kernel's out-of-memory killer strikes the same file each time, somebody
else's SIGKILL seldom twice."""

_MAX_TIMES_BYTES: Final = 1 << 28
_MAX_AUDIO_BYTES: Final = 1 << 32


class IsolatedMedia:
    """Probe and decode files in a child process, which starts with the first request.

    For one thread at a time, any thread. Requests may be mixed: frames of one file can be read on after the sound
    of another.

    >>> with IsolatedMedia(DecodeLimits()) as media:  # doctest: +SKIP
    ...     info = media.probe("clip.mp4")
    ...     for batch in media.frames("clip.mp4", info, np.arange(16)):
    ...         print(batch.frames.shape)
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self.limits = limits
        self._child: ChildProcess | None = None
        self._n_files = 0
        self._opened: tuple[str, MediaInfo] | None = None
        self._stream: FrameStream | None = None

    def __enter__(self) -> "IsolatedMedia":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child. A later request starts another one."""
        if self._child is not None:
            self._child.close()
        self._child, self._opened, self._stream, self._n_files = None, None, None, 0

    @property
    def child_pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._child.pid if self._child is not None else None

    def probe(self, path: str) -> MediaInfo:
        """What a file holds, counted in its content.

        Raises:
            MediaError: with the status that the input's row gets, and the reason in words.
        """
        request = {"do": "probe", "path": os.path.abspath(path)}
        header, payload = self._ask_whole(request, self.limits.open_timeout_s, _MAX_TIMES_BYTES, opens=True)
        try:
            return wire.info_from_header(header, payload.view(np.float64))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.close()
            raise MediaError(Status.CRASHED, f"the decoder answered nonsense: {error}") from None

    def frames(self, path: str, info: MediaInfo, indices: Int64Array) -> "FrameStream":
        """Decode frames by their number in presentation order.

        Args:
            info: what `probe` found in this file, in this process or another one.
            indices: (K,) ascending and unique numbers within `info.video.frame_times_s`.

        Returns:
            The frames in batches of at most `limits.batch_bytes`, decoded as they are asked for. A batch's pixels are
            there until something else is asked for; who wants to keep them makes a copy. It may be left unfinished.

        Raises:
            ValueError: there is no picture, or no such frame.
        """
        if info.video is None:
            raise ValueError(f"expected a file with a picture, got {path}")
        wanted = np.ascontiguousarray(indices, np.int64)
        inside = wanted.ndim == 1 and (len(wanted) == 0 or 0 <= wanted[0] <= wanted[-1] < info.video.n_frames_content)
        if not inside or np.any(np.diff(wanted) <= 0):
            raise ValueError(f"expected ascending frame numbers below {info.video.n_frames_content}, got {indices}")
        return FrameStream(self, os.path.abspath(path), info, wanted)

    def audio(self, path: str, info: MediaInfo, start_s: float, end_s: float, sample_rate_hz: int) -> AudioClip:
        """Mono sound of `[start_s, end_s)`: exactly `round((end_s - start_s) * sample_rate_hz)` samples.

        It equals the same stretch of the whole signal resampled, but for decoders that make up noise (AAC's
        perceptual noise substitution), and for containers that stamp in milliseconds (Matroska, FLV), where a
        stretch may lie up to half of one off.

        Raises:
            MediaError: with the status that the window's row gets, and the reason in words.
            ValueError: there is no sound in that file.
        """
        from emolabel.media.resample import Cut  # brings torch, which those who only probe need not load

        if info.audio is None:
            raise ValueError(f"expected a file with sound, got {path}")
        cut = Cut.of_span(start_s, end_s, info.audio.sample_rate_hz, sample_rate_hz)
        request = {
            "do": "audio",
            "path": os.path.abspath(path),
            "audio": asdict(info.audio),
            "first": cut.native_first,
            "n": cut.native_n_samples,
        }
        header, payload = self._ask_whole(request, self.limits.reply_timeout_s, _MAX_AUDIO_BYTES)
        try:
            runs = tuple((int(first), int(stop)) for first, stop in header["runs"])
            return cut.clip(payload.view(np.float32), runs, header["damage"])
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise MediaError(Status.CRASHED, f"the decoder answered nonsense: {error}") from None

    def extents(self, path: str, start_s: float, end_s: float) -> list[ByteRange]:
        """Where in a file the picture and sound of `[start_s, end_s)` lie, with all that decoding them takes.

        The file's outline (`emolabel.media.outline`) is enough.

        Raises:
            MediaError: the container does not say where, or cannot be opened.
        """
        request = {"do": "extents", "path": os.path.abspath(path), "start_s": start_s, "end_s": end_s}
        _, payload = self._ask_whole(request, self.limits.open_timeout_s, _MAX_TIMES_BYTES)
        try:
            pairs = payload.view(np.int64).reshape(-1, 2).tolist()
        except ValueError as error:
            self.close()
            raise MediaError(Status.CRASHED, f"the decoder answered nonsense: {error}") from None
        return [(start, stop) for start, stop in pairs]

    def _ask_whole(
        self, request: wire.Header, timeout_s: float, max_payload: int, *, opens: bool = False
    ) -> tuple[wire.Header, UInt8Array]:
        """Ask what can be asked again where the child was killed, for which the file may not be to blame."""
        if self._opened is not None and self._opened[0] != request["path"]:
            self._opened = self._stream = None  # for another file the child lets go of this one
        for _ in range(_KILLS_FORGIVEN):
            try:
                return self._ask(request, b"", timeout_s, max_payload, opens=opens)
            except KilledFromOutside:
                continue
        return self._ask(request, b"", timeout_s, max_payload, opens=opens)

    def _ask(
        self, request: wire.Header, payload: bytes, timeout_s: float, max_payload: int, *, opens: bool = False
    ) -> tuple[wire.Header, UInt8Array]:
        dead = self._child is not None and not self._child.alive  # it died between requests
        worn = opens and self._n_files >= self.limits.recycle_after  # decoders leak
        if dead or worn:
            self.close()
        if self._child is None:
            self._child = ChildProcess(self.limits)
        self._n_files += opens
        try:
            return self._child.ask(request, payload, timeout_s, max_payload)
        except MediaError as error:
            if error.status in _DEADLY:
                self.close()
            raise

    def stands_before(self, stream: "FrameStream") -> bool:
        """Whether the child, still the same one, is in the middle of this stream."""
        return self._stream is stream and self._child is not None and self._child.alive

    def start(self, stream: "FrameStream") -> None:
        """Make the child stand before the first frame that a stream still wants."""
        fresh = self._opened is None or self._opened[0] != stream.path or self._opened[1] is not stream.info
        header, times = wire.info_to_header(stream.info)
        request = {"do": "open", "path": stream.path, "info": header}
        self._opened = self._stream = None
        self._ask(request, times.tobytes(), self.limits.open_timeout_s, 0, opens=fresh)
        self._ask({"do": "frames"}, stream.wanted.tobytes(), self.limits.reply_timeout_s, 0)
        self._opened, self._stream = (stream.path, stream.info), stream

    def next_batch(self, max_frames: int, frame_bytes: int) -> tuple[Int64Array, UInt8Array]:
        """The numbers of some frames (n,), and their pixels (n * frame_bytes,). n = 0: the stream is at its end."""
        max_payload = max_frames * (frame_bytes + 8)
        header, payload = self._ask({"do": "next"}, b"", self.limits.reply_timeout_s, max_payload)
        try:
            n_frames = int(header["n"])
            numbers, pixels = payload[: 8 * n_frames].view(np.int64), payload[8 * n_frames :]
            if header.get("shared"):
                if len(pixels) or self._child is None or self._child.frames is None:
                    raise ValueError("not what was agreed on")
                pixels = self._child.frames.first(n_frames * frame_bytes)
            if len(numbers) != n_frames or len(pixels) != n_frames * frame_bytes:
                raise ValueError("not as many as announced")
        except (KeyError, TypeError, ValueError, OverflowError):
            self.close()
            raise MediaError(Status.CRASHED, "the decoder answered nonsense and was stopped") from None
        return numbers, pixels


class FrameStream(Iterator[FrameBatch]):
    """Batches of decoded frames, as they are asked for. From `IsolatedMedia.frames`."""

    def __init__(self, media: IsolatedMedia, path: str, info: MediaInfo, indices: Int64Array) -> None:
        assert info.video is not None, "checked by IsolatedMedia.frames"
        self.path, self.info = path, info
        self.wanted = indices
        """(k,) frames still to come."""
        self._media, self._video = media, info.video
        self._n_wanted, self._n_decoded = len(indices), 0
        self._n_killed = 0

    @property
    def damage(self) -> str | None:
        """After the last batch: how many of the wanted frames could not be decoded, in words; None if all came."""
        asked = self._n_wanted - len(self.wanted)
        missing = asked - self._n_decoded
        return f"{missing} of {asked} wanted frames could not be decoded" if missing else None

    def __next__(self) -> FrameBatch:
        if len(self.wanted) == 0:
            raise StopIteration
        batch = self._next_or_again()
        if batch is None:
            self.wanted = self.wanted[:0]
            raise StopIteration
        self._n_decoded += len(batch.indices)
        self.wanted = self.wanted[np.searchsorted(self.wanted, batch.indices[-1], side="right") :]
        return batch

    def _next_or_again(self) -> FrameBatch | None:
        try:
            return self._next()
        except KilledFromOutside:
            if self._n_killed == _KILLS_FORGIVEN:
                raise
            self._n_killed += 1  # the file may have had no part in it
            return self._next_or_again()

    def _next(self) -> FrameBatch | None:
        video, media = self._video, self._media
        if not media.stands_before(self):
            media.start(self)
        frame_bytes = video.width * video.height * 3
        max_frames = max(1, media.limits.batch_bytes // frame_bytes)
        indices, pixels = media.next_batch(max_frames, frame_bytes)
        if len(indices) == 0:
            return None
        if not np.isin(indices, self.wanted).all() or np.any(np.diff(indices) <= 0):
            media.close()
            raise MediaError(Status.CRASHED, "the decoder answered nonsense and was stopped")
        frames = pixels.reshape(-1, video.height, video.width, 3)
        return FrameBatch(indices, frames)
