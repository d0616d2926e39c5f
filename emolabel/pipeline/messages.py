"""What travels between the stages: one Arrow row per input, then per chunk, then per window.

Only plain Arrow types cross a stage border, so that a row means the same in every process and version.
Label rows inside a window travel as Arrow IPC bytes, which keep `schema.LABELS` exact.
"""

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa

from emolabel import schema
from emolabel.errors import Status
from emolabel.media.outline import ByteRange
from emolabel.pipeline.clips import CLIP_TYPE, clip_of, clip_row
from emolabel.types import AudioInfo, ClipInputs, Float64Array, MediaInfo, VideoInfo, Window


@dataclass(frozen=True)
class Source:
    """One input, as it was listed."""

    video_id: str
    """Stable hash of the URI and of the content's version: a replaced file is a new video."""
    uri: str
    """Where to open it. May hold credentials: never written or logged."""
    input: str
    """The same for people: credentials removed."""
    size_bytes: int | None = None
    version: str = ""
    """Modification time of the listed content; empty where the listing found nothing."""
    status: Status | None = None
    """Set where listing alone decides: missing, skipped."""
    error: str | None = None
    start_s: float | None = None
    """Of the stretch that is the input, as it was given; None: where the content starts."""
    end_s: float | None = None
    done_windows: tuple[int, ...] = ()
    """Windows that an earlier run has already written."""


SOURCE_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("input", pa.string()),  # null: the same as `uri`
        ("size_bytes", pa.int64()),
        ("version", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("done_windows", pa.list_(pa.int32())),
    ]
)


def sources_table(sources: Iterable[Source]) -> pa.Table:
    """A row per source."""
    rows = [
        {
            **vars(source),
            "input": None if source.input == source.uri else source.input,  # half of a long list
            "status": source.status and str(source.status),
        }
        for source in sources
    ]
    return pa.Table.from_pylist(rows, schema=SOURCE_SCHEMA)


def sources_of(table: pa.Table) -> list[Source]:
    """The inverse of `sources_table`."""
    return [
        Source(
            **{
                **row,
                "input": row["uri"] if row["input"] is None else row["input"],
                "status": Status(row["status"]) if row["status"] else None,
                "done_windows": tuple(row["done_windows"]),
            }
        )
        for row in table.to_pylist()
    ]


@dataclass(frozen=True)
class InputFacts:
    """What is known of an input once it was probed; what the `inputs` row is made of."""

    video_id: str
    input: str
    size_bytes: int | None
    start_s: float | None = None
    """Of the stretch that is the input, as in `Source`."""
    end_s: float | None = None
    n_windows: int = 0
    status: Status | None = None
    """Set where the probe alone decides; None: the windows decide."""
    error: str | None = None
    damage: str | None = None
    container: str | None = None
    duration_s: float | None = None
    """Of the input: of the stretch, where it is one."""
    frame_width: int | None = None
    frame_height: int | None = None
    fps: float | None = None
    n_frames_header: int | None = None
    n_frames: int | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    audio_sample_rate_hz: int | None = None

    @staticmethod
    def failed(source: Source, status: Status, error: str | None) -> "InputFacts":
        """The facts of an input that could not be planned."""
        return replace(InputFacts._listed(source), status=status, error=error)

    @staticmethod
    def probed(source: Source, info: MediaInfo, n_windows: int) -> "InputFacts":
        """The facts of an input that was planned, where it is a whole file."""
        facts = replace(
            InputFacts._listed(source),
            n_windows=n_windows,
            damage=info.damage,
            container=info.container,
            duration_s=info.duration_s,
        )
        if info.video is not None:
            facts = replace(
                facts,
                frame_width=info.video.width,
                frame_height=info.video.height,
                fps=info.video.fps,
                n_frames_header=info.video.n_frames_header,
                n_frames=info.video.n_frames_content,
                video_codec=info.video.codec,
            )
        if info.audio is not None:
            facts = replace(facts, audio_codec=info.audio.codec, audio_sample_rate_hz=info.audio.sample_rate_hz)
        return facts

    @staticmethod
    def _listed(source: Source) -> "InputFacts":
        return InputFacts(source.video_id, source.input, source.size_bytes, source.start_s, source.end_s)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "InputFacts":
        fields = json.loads(text)
        fields["status"] = Status(fields["status"]) if fields["status"] else None
        return InputFacts(**fields)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Contiguous windows of one input: a unit of work. An input that could not be planned has no windows."""

    source: Source
    facts: InputFacts
    windows: tuple[Window, ...] = ()
    info: MediaInfo | None = None
    ranges: tuple[ByteRange, ...] | None = None
    """Of a remote file, the bytes that decoding the windows takes; None: all."""

    def to_table(self) -> pa.Table:
        """One row."""
        row = {
            "source": sources_table([self.source]).to_pylist(),
            "facts": self.facts.to_json(),
            "window_index": [window.index for window in self.windows],
            "window_start_s": [window.start_s for window in self.windows],
            "window_end_s": [window.end_s for window in self.windows],
            "ranges": self.ranges,
            "media": None if self.info is None else _media_json(self.info),
            "frame_times_s": None
            if self.info is None or self.info.video is None
            else _packed_times(self.info.video.frame_times_s),
        }
        return pa.Table.from_pylist([row], schema=CHUNK_SCHEMA)

    @staticmethod
    def from_table(table: pa.Table) -> "Chunk":
        (row,) = table.to_pylist()
        windows = zip(row["window_index"], row["window_start_s"], row["window_end_s"], strict=True)
        return Chunk(
            source=sources_of(pa.Table.from_pylist(row["source"], schema=SOURCE_SCHEMA))[0],
            facts=InputFacts.from_json(row["facts"]),
            windows=tuple(Window(*window) for window in windows),
            ranges=None if row["ranges"] is None else tuple((start, stop) for start, stop in row["ranges"]),
            info=None if row["media"] is None else _media_info(row["media"], row["frame_times_s"]),
        )


CHUNK_SCHEMA = pa.schema(
    [
        ("source", pa.list_(pa.struct(list(SOURCE_SCHEMA)))),
        ("facts", pa.string()),
        ("window_index", pa.list_(pa.int32())),
        ("window_start_s", pa.list_(pa.float64())),
        ("window_end_s", pa.list_(pa.float64())),
        ("ranges", pa.list_(pa.list_(pa.int64(), 2))),
        ("media", pa.string()),
        ("frame_times_s", pa.large_binary()),
    ]
)


def _media_json(info: MediaInfo) -> str:
    video = None if info.video is None else {k: v for k, v in vars(info.video).items() if k != "frame_times_s"}
    return json.dumps({**vars(info), "video": video, "audio": info.audio and asdict(info.audio)})


def _media_info(text: str, frame_times_s: bytes | None) -> MediaInfo:
    fields = json.loads(text)
    if fields["video"] is not None:
        assert frame_times_s is not None
        fields["video"] = VideoInfo(**fields["video"], frame_times_s=_unpacked_times(frame_times_s))
    if fields["audio"] is not None:
        fields["audio"] = AudioInfo(**fields["audio"])
    return MediaInfo(**fields)


def _packed_times(times_s: Float64Array) -> bytes:
    """Each chunk carries the times of the whole video: 720 KB an hour as they are, under 10 KB as differences."""
    return zlib.compress(np.diff(times_s.view(np.int64), prepend=0).tobytes(), level=1)


def _unpacked_times(packed: bytes) -> Float64Array:
    """Bit for bit what was packed."""
    return np.cumsum(np.frombuffer(zlib.decompress(packed), np.int64)).view(np.float64)


WINDOW_SCHEMA = pa.schema(
    [
        ("facts", pa.string()),
        ("window_index", pa.int32()),
        ("labels", pa.large_binary()),
        ("seconds", pa.float64()),
        ("clips", pa.list_(CLIP_TYPE)),
    ]
)


@dataclass(frozen=True, eq=False)
class WindowResult:
    """One window: its label rows, and until they are scored, what the model is to see and hear of each.

    A result without a window (`window_index` None) only carries the facts of an input that has nothing to label.
    """

    facts: InputFacts
    window_index: int | None = None
    labels: pa.Table = field(default_factory=schema.LABELS.empty_table)
    clips: tuple[ClipInputs, ...] = ()
    """One for each row of `labels`; empty where the window failed, and once it was scored."""
    seconds: float = 0.0
    """Work spent on it."""


def windows_table(results: Iterable[WindowResult]) -> pa.Table:
    """A row per window."""
    rows = [
        {
            "facts": result.facts.to_json(),
            "window_index": result.window_index,
            "labels": ipc_bytes(result.labels),
            "seconds": result.seconds,
            "clips": [clip_row(clip) for clip in result.clips],
        }
        for result in results
    ]
    return pa.Table.from_pylist(rows, schema=WINDOW_SCHEMA)


def windows_of(table: pa.Table) -> list[WindowResult]:
    """The inverse of `windows_table`."""
    return [
        WindowResult(
            facts=InputFacts.from_json(row["facts"]),
            window_index=row["window_index"],
            labels=pa.ipc.open_stream(row["labels"]).read_all(),
            clips=tuple(clip_of(clip) for clip in row["clips"]),
            seconds=row["seconds"],
        )
        for row in table.to_pylist()
    ]


def ipc_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    contents: bytes = sink.getvalue().to_pybytes()
    return contents
