"""Stage decode: the windows of a chunk become rows without scores, with what the model is to see and hear."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from emolabel import schema
from emolabel.config import Settings
from emolabel.errors import CONTAINED, MediaError, Status, contained
from emolabel.faces.assemble import wanted_frames
from emolabel.faces.detect import FaceDetector
from emolabel.media.isolate import IsolatedMedia
from emolabel.media.windows import frames_in
from emolabel.pipeline.faces import FaceCollector, WindowFace
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.messages import Chunk, Source, WindowResult
from emolabel.pipeline.plan import plan_source
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import AudioSampling, InputSpec
from emolabel.types import ClipInputs, Float32Array, MediaInfo, Window

_SILENCE = 10 ** (-80 / 20)
"""Peak below -80 dB of full scale: digital silence with dither, nothing a microphone records."""

_MAX_STRIKES = 2
"""Windows of an input that may cost a worker a crash or a deadline before it gives up the rest of that input."""

_COSTLY = frozenset({Status.TIMEOUT, Status.CRASHED, Status.OUT_OF_MEMORY})
_STORAGE = frozenset({Status.MISSING, Status.DENIED, Status.CHANGED, Status.UNAVAILABLE})


@dataclass(frozen=True, eq=False)
class DecodeTools:
    """What a worker holds while it decodes chunk after chunk."""

    files: LocalFiles
    media: IsolatedMedia
    detector: FaceDetector
    spec: InputSpec
    settings: Settings
    stamp: RunStamp
    strikes: Counter[str] = field(default_factory=Counter)
    """By `video_id`: windows that cost a crash or a deadline."""


@dataclass(frozen=True, eq=False)
class _Picture:
    faces: tuple[WindowFace, ...] = ()
    n_examined: int = 0
    damage: str | None = None
    failure: MediaError | None = None


@dataclass(frozen=True, eq=False)
class _Sound:
    samples: Float32Array | None = None
    why_none: str = "no audio track"
    damage: str | None = None
    failure: MediaError | None = None


def decode_chunk(chunk: Chunk, tools: DecodeTools) -> Iterator[WindowResult]:
    """One result per window, in order; a single one without a window where the chunk has none.

    Never raises for a file's sake: what fails becomes a row with a status.
    """
    if not chunk.windows:
        yield WindowResult(chunk.facts)
        return
    video_id = chunk.facts.video_id
    for window in chunk.windows:
        started = time.monotonic()
        if tools.strikes[video_id] >= _MAX_STRIKES:
            given_up = MediaError(
                Status.CRASHED, f"not tried: {_MAX_STRIKES} other windows crashed or stalled the decoder"
            )
            result = _failed(chunk, window, given_up, tools.stamp)
        else:
            try:
                result, failures = _decode_window(chunk, window, tools)
                if chunk.ranges is not None and _doubtful(result, failures):  # perhaps for want of the other bytes
                    chunk = replace(chunk, ranges=None)
                    result, failures = _decode_window(chunk, window, tools)
            except CONTAINED as error:
                result, failures = _failed(chunk, window, contained(error), tools.stamp), []
            tools.strikes[video_id] += any(failure.status in _COSTLY for failure in failures)
        yield replace(result, seconds=time.monotonic() - started)


def give_up(sources: Iterable[Source], settings: Settings, stamp: RunStamp) -> Iterator[WindowResult]:
    """Results for inputs that no worker has survived: each window that is missing is recorded as `crashed`."""
    died = MediaError(Status.CRASHED, "the worker died each time it came to this input")
    files = LocalFiles()
    with IsolatedMedia(settings.limits) as media:
        for source in sources:
            for chunk in plan_source(source, files, media, settings):
                if not chunk.windows:
                    yield WindowResult(chunk.facts)
                for window in chunk.windows:
                    yield _failed(chunk, window, died, stamp)
    files.close()


def _decode_window(chunk: Chunk, window: Window, tools: DecodeTools) -> tuple[WindowResult, list[MediaError]]:
    assert chunk.info is not None
    try:
        path = tools.files.path(chunk.source, chunk.ranges)
    except MediaError as error:
        return _failed(chunk, window, error, tools.stamp), [error]
    picture = _look(path, chunk.info, window, tools)
    sound = _listen(path, chunk.info, window, tools.media, tools.spec.audio)
    failures = [failure for failure in (picture.failure, sound.failure) if failure is not None]
    if failures and not picture.faces and sound.samples is None:
        return _failed(chunk, window, failures[0], tools.stamp), failures
    status, reason = _status(chunk.info, picture, sound, tools.spec)
    has_audio = sound.samples is not None
    clips = tuple(ClipInputs(face.face, face.motion, sound.samples) for face in picture.faces)
    rows = [
        _row(chunk, window, tools.stamp, status, reason)
        | {"n_frames": picture.n_examined, "has_audio": has_audio}
        | _face_columns(face)
        for face in picture.faces or (None,)
    ]
    labels = pa.Table.from_pylist(rows, schema=schema.LABELS)
    clips = clips or (ClipInputs(audio=sound.samples),)
    return WindowResult(chunk.facts, window.index, labels, clips), failures


def _look(path: str, info: MediaInfo, window: Window, tools: DecodeTools) -> _Picture:
    if info.video is None or (tools.spec.face is None and tools.spec.motion is None):
        return _Picture()
    frames = frames_in(window, info.video.frame_times_s)
    if not frames:
        return _Picture()
    wanted = wanted_frames(tools.spec, frames.start, len(frames))
    collector = FaceCollector(tools.spec, frames.start, len(frames), tools.detector, tools.settings.faces)
    failure, damage = None, None
    try:
        stream = tools.media.frames(path, info, wanted)
        for batch in stream:
            collector.look(batch)
        damage = stream.damage
    except MediaError as error:
        failure = error
    n_lost = len(wanted) - collector.n_examined
    if n_lost and failure is None and not collector.n_examined:
        failure = MediaError(Status.UNREADABLE, damage or "no frame of this window can be decoded")
    if n_lost and damage is None:
        damage = f"{n_lost} of {len(wanted)} wanted frames could not be decoded"
    return _Picture(tuple(collector.faces()), collector.n_examined, damage, failure)


def _listen(path: str, info: MediaInfo, window: Window, media: IsolatedMedia, sampling: AudioSampling | None) -> _Sound:
    if sampling is None:
        return _Sound(why_none="the model does not listen")
    if info.audio is None:
        return _Sound()
    start_s, end_s = sampling.span(window.start_s, window.end_s)
    try:
        clip = media.audio(path, info, start_s, end_s, sampling.sample_rate_hz)
    except MediaError as error:
        return _Sound(why_none=error.reason, failure=error)
    if clip.covered_s <= 0:
        return _Sound(why_none="the audio track has nothing here", damage=clip.damage)
    if float(np.abs(clip.samples).max(initial=0)) < _SILENCE:
        return _Sound(why_none="the audio is silent", damage=clip.damage)
    return _Sound(clip.samples[: sampling.n_samples], damage=clip.damage)


def _status(info: MediaInfo, picture: _Picture, sound: _Sound, spec: InputSpec) -> tuple[Status, str | None]:
    """The status of a window that was decoded, and the reason where it is not `ok`."""
    looks, listens = spec.face is not None or spec.motion is not None, spec.audio is not None
    broken = [
        f"{what}: {text}"
        for what, text in (
            ("picture", picture.failure.reason if picture.failure else picture.damage),
            ("sound", sound.failure.reason if sound.failure else sound.damage),
        )
        if text is not None
    ]
    if broken:
        return Status.PARTIAL, "; ".join(broken)
    no_face = "no picture" if info.video is None else f"no face in {picture.n_examined} frames"
    if not picture.faces and sound.samples is None:
        return Status.NO_SIGNAL, "; ".join(([no_face] if looks else []) + ([sound.why_none] if listens else []))
    if looks and not picture.faces:
        return (Status.NO_VIDEO if info.video is None else Status.NO_FACE), no_face
    if listens and sound.samples is None:
        return Status.NO_AUDIO, sound.why_none
    return Status.OK, None


def _doubtful(result: WindowResult, failures: list[MediaError]) -> bool:
    """Whether something could not be decoded; what the storage refuses is no better for asking again."""
    if any(failure.status in _STORAGE for failure in failures):
        return False
    return bool(failures) or str(Status.PARTIAL) in result.labels["status"].to_pylist()


def _failed(chunk: Chunk, window: Window, error: MediaError, stamp: RunStamp) -> WindowResult:
    row = _row(chunk, window, stamp, error.status, error.reason)
    return WindowResult(chunk.facts, window.index, pa.Table.from_pylist([row], schema=schema.LABELS))


def _row(chunk: Chunk, window: Window, stamp: RunStamp, status: Status, error: str | None) -> dict[str, object]:
    facts = chunk.facts
    return {
        "video_id": facts.video_id,
        "input": facts.input,
        "window_index": window.index,
        "n_windows": facts.n_windows,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "fps": facts.fps,
        "face_id": schema.NO_FACE_ID,
        "n_frames": 0,
        "n_face_frames": 0,
        "frame_width": facts.frame_width,
        "frame_height": facts.frame_height,
        "has_face": False,
        "has_audio": False,
        "status": str(status),
        "error": error,
        **vars(stamp),
    }


def _face_columns(face: WindowFace | None) -> dict[str, object]:
    if face is None:
        return {}
    return {
        "face_id": face.face_id,
        "face_x": face.summary.x,
        "face_y": face.summary.y,
        "face_w": face.summary.width,
        "face_h": face.summary.height,
        "face_score": face.summary.score,
        "n_face_frames": face.summary.n_face_frames,
        "has_face": True,
    }
