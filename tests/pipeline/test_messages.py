"""What crosses a stage border comes out as it went in."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolabel import schema
from emolabel.errors import Status
from emolabel.pipeline.messages import (
    Chunk,
    InputFacts,
    Source,
    WindowResult,
    sources_of,
    sources_table,
    windows_of,
    windows_table,
)
from emolabel.types import AudioInfo, ClipInputs, CropSequence, MediaInfo, VideoInfo, Window

SOURCE = Source("id", "s3://key:secret@b/a.mp4", "s3://***@b/a.mp4", 5, "17", done_windows=(0, 3))
VIDEO = VideoInfo("h264", 640, 360, 90, 75, np.arange(74) / 25, 2.96)
INFO = MediaInfo("mp4", 3.0, VIDEO, AudioInfo("aac", 44_100, 2, 0.02, 2.9), damage="cut short")


def test_sources_round_trip() -> None:
    missing = Source("id2", "gone.mp4", "gone.mp4", status=Status.MISSING, error="no such file")
    assert sources_of(sources_table([SOURCE, missing])) == [SOURCE, missing]


@pytest.mark.parametrize("info", [INFO, MediaInfo("flac", None, None, INFO.audio)], ids=["video", "audio only"])
def test_chunk_round_trip(info: MediaInfo) -> None:
    facts = InputFacts.probed(SOURCE, info, n_windows=2)
    windows = (Window(0, 0.0, 1.5), Window(1, 1.5, 2.96))
    got = Chunk.from_table(Chunk(SOURCE, facts, windows, info).to_table())
    assert (got.source, got.facts, got.windows) == (SOURCE, facts, windows)
    assert got.info is not None
    assert (got.info.container, got.info.damage, got.info.audio) == (info.container, info.damage, info.audio)
    if info.video is not None:
        assert got.info.video is not None
        assert got.info.video.frame_times_s.tolist() == info.video.frame_times_s.tolist()
        assert (got.info.video.rotation_deg, got.info.video.end_s) == (90, 2.96)


def test_failed_input_round_trip() -> None:
    facts = InputFacts.failed(SOURCE, Status.UNREADABLE, "the file is empty (0 bytes)")
    assert Chunk.from_table(Chunk(SOURCE, facts).to_table()).facts == facts
    (result,) = windows_of(windows_table([WindowResult(facts)]))
    assert (result.facts, result.window_index, result.clips) == (facts, None, ())


@settings(max_examples=25, deadline=None)
@given(
    n_crops=st.integers(1, 4),
    side=st.integers(1, 5),
    sliced=st.booleans(),
    audio=st.none() | st.lists(st.floats(-1, 1, width=32), max_size=5),
)
def test_what_the_model_sees_and_hears_round_trips(
    n_crops: int, side: int, sliced: bool, audio: list[float] | None
) -> None:
    rng = np.random.default_rng(n_crops * side)
    crops = rng.integers(0, 256, (n_crops, side, side, 3)).astype(np.uint8)
    index = rng.integers(0, n_crops, (3, 2) if sliced else (6,)).astype(np.int32)
    sequence = CropSequence(crops, index)
    clip = ClipInputs(
        face=None if sliced else sequence,
        motion=sequence if sliced else None,
        audio=None if audio is None else np.asarray(audio, np.float32),
    )
    facts = InputFacts("id", "a.mp4", 5, n_windows=1)
    (got,) = windows_of(windows_table([WindowResult(facts, 0, schema.LABELS.empty_table(), (clip,), 1.5)]))
    assert got.seconds == 1.5
    assert got.labels.schema == schema.LABELS
    seen = got.clips[0].motion if sliced else got.clips[0].face
    assert seen is not None
    assert np.array_equal(seen.crops, crops)
    assert np.array_equal(seen.index, index)
    assert (got.clips[0].audio is None) == (audio is None)
    assert audio is None or got.clips[0].audio is not None
    if audio is not None:
        assert got.clips[0].audio is not None
        assert got.clips[0].audio.tolist() == np.asarray(audio, np.float32).tolist()


def test_schemas_use_plain_types_and_unique_names() -> None:
    for table in (schema.LABELS, schema.INPUTS):
        assert len(set(table.names)) == len(table.names)
        plain = (pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_())
        assert all(field.type in plain for field in table)
