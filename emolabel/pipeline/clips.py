"""What a model sees and hears of a window, as Arrow values: on its way to the model, and in prepared folders."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from emolabel import schema
from emolabel.sampling import InputSpec
from emolabel.types import ClipInputs, CropSequence

if TYPE_CHECKING:
    from emolabel.pipeline.messages import WindowResult

CLIP_TYPE = pa.struct([schema.PREPARED.field(name) for name in ("face", "motion", "audio")])
STORED_SCHEMA = pa.schema([*schema.LABELS, *schema.PREPARED])
"""Of the `labels` of a prepared folder, less the columns of manifests."""


def clip_row(clip: ClipInputs) -> dict[str, Any]:
    """A value of `CLIP_TYPE`."""
    return {
        "face": _crops_row(clip.face),
        "motion": _crops_row(clip.motion),
        "audio": None if clip.audio is None else clip.audio.astype("<f4", copy=False).tobytes(),
    }


def clip_of(row: Mapping[str, Any]) -> ClipInputs:
    """The inverse of `clip_row`; also takes a whole row of a prepared folder."""
    return ClipInputs(
        face=_crops(row["face"]),
        motion=_crops(row["motion"]),
        audio=None if row["audio"] is None else np.frombuffer(row["audio"], "<f4").astype(np.float32, copy=False),
    )


def with_clips(result: "WindowResult", spec: InputSpec) -> "WindowResult":
    """The same window with its clips as columns of its labels, which then are of `STORED_SCHEMA`."""
    clips = result.clips or (ClipInputs(),) * len(result.labels)
    rate_hz = None if spec.audio is None else spec.audio.sample_rate_hz
    rows = [clip_row(clip) | {"audio_rate_hz": None if clip.audio is None else rate_hz} for clip in clips]
    columns = pa.Table.from_pylist(rows, schema=schema.PREPARED).columns
    labels = pa.Table.from_arrays([*result.labels.columns, *columns], schema=STORED_SCHEMA)
    return replace(result, labels=labels, clips=())


def _crops_row(sequence: CropSequence | None) -> dict[str, Any] | None:
    if sequence is None:
        return None
    return {
        "pixels": sequence.crops.tobytes(),
        "side_px": sequence.crops.shape[1],
        "index": sequence.index.ravel().tolist(),
        "slice_length": sequence.index.shape[1] if sequence.index.ndim == 2 else 0,
    }


def _crops(row: Mapping[str, Any] | None) -> CropSequence | None:
    if row is None:
        return None
    side, length = row["side_px"], row["slice_length"]
    index = np.asarray(row["index"], np.int32)
    return CropSequence(
        crops=np.frombuffer(row["pixels"], np.uint8).reshape(-1, side, side, 3),
        index=index.reshape(-1, length) if length else index,
    )
