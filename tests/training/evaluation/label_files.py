"""Small Parquet files such as annotation and training write."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emolabel import schema
from emolabel.labels import EMOTIONS

RUN = {"model": "small", "model_sha256": "ab" * 32, "emolabel_version": "0", "run_id": "r"}


@dataclass(frozen=True)
class Row:
    """A label row. A modality is the emotion it gives, or that and its probability, or all seven; None: no scores."""

    input: str
    fused: Any = None
    face: Any = None
    motion: Any = None
    audio: Any = None
    window: int = 0
    face_id: int = 0
    start_s: float = 0.0
    end_s: float = 5.0
    status: str = "ok"
    error: str | None = None
    video_id: str | None = None
    riding: dict[str, Any] = field(default_factory=dict)


def sure_of(emotion: str, probability: float = 0.7) -> list[float]:
    """Seven probabilities: one emotion's, and the rest shared by the others."""
    return [probability if name == emotion else (1 - probability) / 6 for name in EMOTIONS]


def write_output(folder: Path, rows: Sequence[Row], inputs: Sequence[dict[str, Any]] = ()) -> Path:
    """An output folder of `emolabel annotate`; inputs that have rows get their own row by themselves."""
    write_rows(folder / "labels" / "part-0.parquet", rows)
    seen = {row.input: row for row in rows}
    finished = [
        {"video_id": row.video_id or row.input, "input": name, "status": row.status, "error": row.error} | row.riding
        for name, row in seen.items()
    ]
    records = [_full(schema.INPUTS, record) for record in [*finished, *inputs]]
    (folder / "inputs").mkdir()
    pq.write_table(_table(schema.INPUTS, records), folder / "inputs" / "part-0.parquet")
    return folder


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """One Parquet file of label rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(_table(schema.LABELS, [_record(row) for row in rows]), path)
    return path


def write_truth(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A manifest with the columns of its first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _record(row: Row) -> dict[str, Any]:
    scores: dict[str, float] = {}
    for prefix, said in (("", row.fused), ("face_", row.face), ("motion_", row.motion), ("audio_", row.audio)):
        if said is not None:
            values = sure_of(said) if isinstance(said, str) else sure_of(*said) if isinstance(said, tuple) else said
            scores |= {f"{prefix}{name}": value for name, value in zip(EMOTIONS, values, strict=True)}
    return _full(
        schema.LABELS,
        {
            "video_id": row.video_id or row.input,
            "input": row.input,
            "window_index": row.window,
            "face_id": row.face_id,
            "start_s": row.start_s,
            "end_s": row.end_s,
            "status": row.status,
            "error": row.error,
            **scores,
            **row.riding,
        },
    )


def _full(known: pa.Schema, record: dict[str, Any]) -> dict[str, Any]:
    """With a value for what must have one."""
    zeros = {pa.string(): "", pa.bool_(): False}
    needed = {column.name: zeros.get(column.type, 0) for column in known if not column.nullable}
    return needed | RUN | record


def _table(known: pa.Schema, records: list[dict[str, Any]]) -> pa.Table:
    riding = sorted({name for record in records for name in record} - set(known.names))
    values = {name: pa.array([record.get(name) for record in records]) for name in riding}
    table = pa.Table.from_pylist([{k: v for k, v in r.items() if k in known.names} for r in records], schema=known)
    for name, column in values.items():
        table = table.append_column(name, column)
    return table
