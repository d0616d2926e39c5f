"""What the faults disturb: many short clips, a model that costs little, an undisturbed run, and the comparison."""

import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.cbook import get_sample_data
from PIL import Image
from rich.console import Console
from rich.table import Table

from emolabel.models.bundle import save_bundle
from emolabel.models.pini2017 import FaceConfig, Pini2017, Pini2017Config
from emolabel.sampling import FrameSampling

WINDOW_S = 0.5
KEYS = {"labels": ["video_id", "window_index", "face_id"], "inputs": ["video_id"]}
_OF_THE_RUN = ["run_id", "seconds_spent"]
_TOLERANCE = 1e-5
_FPS, _RATE_HZ = 10, 16_000


@dataclass(frozen=True)
class Toll:
    """What a fault cost."""

    fault: str
    injected: int = 0
    """Times."""
    lost: int = 0
    """Rows of the undisturbed run that are not there."""
    doubled: int = 0
    """Rows whose key is there already."""
    different: int = 0
    """Rows that say something else than in the undisturbed run, or that it does not have."""
    unreadable: int = 0
    """Files."""
    wasted: int = 0
    """Windows that were labelled again although they were written, or labelled twice in one run."""
    unclear: int = 0
    """Failures that were not told in one readable line."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What users were told."""

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled, changed, damaged or left unexplained."""
        return not (self.lost or self.doubled or self.different or self.unreadable or self.unclear)

    def told(self, notes: Iterable[str]) -> "Toll":
        """With what users were told."""
        return replace(self, notes=(*self.notes, *notes))


COUNTS = tuple(each.name for each in fields(Toll) if each.name not in ("fault", "notes"))


def total(fault: str, tolls: Iterable[Toll]) -> Toll:
    """The sum under one name."""
    tolls = list(tolls)
    sums: dict[str, Any] = {name: sum(getattr(toll, name) for toll in tolls) for name in COUNTS}
    return replace(Toll(fault, **sums), notes=tuple(note for toll in tolls for note in toll.notes))


def make_clips(folder: Path, n: int) -> None:
    """`n` files: clips of about a second of eight kinds, and every tenth one broken.

    Two kinds lack something: one has no sound, one no face.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [folder.parent / f"kind-{kind}.mp4" for kind in range(8)]
    for number, kind in enumerate(kinds):
        _encode(kind, zoom=0.6 + 0.05 * number, face=number != 6, sound=number != 7)
    for number in range(n):
        clip = folder / f"{number:04d}.mp4"
        shutil.copy(kinds[number % len(kinds)], clip)
        if number % 10 == 9:
            os.truncate(clip, clip.stat().st_size // 2)


def _encode(path: Path, zoom: float, face: bool, sound: bool) -> None:
    portrait = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    box = (20, 30, 20 + 480 * zoom, 30 + 480 * zoom)
    size = (192, 192)
    with av.open(path, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=_FPS)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=_RATE_HZ, layout="mono") if sound else None
        for number in range(_FPS):
            shift = 3 * number
            picture = portrait.resize(size, box=(box[0] + shift, box[1], box[2] + shift, box[3]))
            picture = picture if face else Image.new("RGB", size, (20 * number, 90, 160))
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            tone = 0.3 * np.sin(2 * math.pi * 400 * zoom * np.arange(_RATE_HZ) / _RATE_HZ)
            heard = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = _RATE_HZ, 0, Fraction(1, _RATE_HZ)
            container.mux(audio.encode(heard))
            container.mux(audio.encode())


def make_bundle(folder: Path) -> None:
    """A model with face and audio branches that looks at two frames of a window."""
    face = FaceConfig(backbone="timm:mobilenetv3_small_050", sampling=FrameSampling(count=2, crop_px=64))
    model = Pini2017(Pini2017Config(face=face, motion=None))
    model.reset_parameters(seed=1)
    save_bundle(model.eval(), folder, name="chaos", trained=dict.fromkeys(model.parts(), False))


def arguments(videos: Path | str, out: Path | str, bundle: Path) -> list[str]:
    """Of `emolabel annotate`, for all runs that are to be compared."""
    return [str(videos), "-o", str(out), "--model", str(bundle), "--window", str(WINDOW_S), "--workers", "2"]


def windows_written(out: Path, column: str = "run_id") -> dict[tuple[str, int], str]:
    """The windows in an output folder, each with one of its columns."""
    table, _ = _read(out, "labels", ["video_id", "window_index", column])
    return {} if table is None else {(row[0], row[1]): row[2] for row in zip(*table.to_pydict().values(), strict=True)}


def compare(fault: str, reference: Path, out: Path, **counts: Any) -> Toll:
    """Set an output against that of the undisturbed run; `counts` are fields of the toll."""
    tolls = [_compare(kind, reference, out) for kind in ("labels", "inputs")]
    return total(fault, [*tolls, Toll(fault, **counts)])


def _compare(kind: str, reference: Path, out: Path) -> Toll:
    expected, _ = _read(reference, kind)
    found, unreadable = _read(out, kind)
    assert expected is not None, f"the undisturbed run has no {kind}"
    if found is None:
        return Toll(kind, lost=len(expected), unreadable=unreadable)
    keys = KEYS[kind]
    frames = [table.to_pandas().drop(columns=_OF_THE_RUN, errors="ignore") for table in (expected, found)]
    doubled = int(frames[1].duplicated(keys).sum())
    left, right = (frame.drop_duplicates(keys).set_index(keys) for frame in frames)
    both = left.index.intersection(right.index)
    differs = ~_equal(left.loc[both], right.loc[both]).all(axis=1)
    return Toll(
        kind,
        lost=len(left.index.difference(right.index)),
        doubled=doubled,
        different=int(differs.sum()) + len(right.index.difference(left.index)),
        unreadable=unreadable,
        notes=tuple(f"{row.input}: {row.status}: {row.error}" for row in right.loc[both][differs].itertuples()),
    )


def _equal(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Cell by cell; numbers to 1e-5, and what is missing equals what is missing."""
    numeric = left.select_dtypes("number").columns
    equal: pd.DataFrame = (left == right) | (left.isna() & right.isna())
    close = (left[numeric] - right[numeric]).abs() <= _TOLERANCE
    equal[numeric] = equal[numeric] | close
    return equal


def _read(out: Path, kind: str, columns: list[str] | None = None) -> tuple[pa.Table | None, int]:
    """All rows, None where there are none; and how many files cannot be read."""
    tables, unreadable = [], 0
    for path in sorted((out / kind).glob("*.parquet")):
        try:
            tables.append(pq.ParquetFile(path).read(columns=columns))
        except (pa.ArrowException, OSError):
            unreadable += 1
    return (pa.concat_tables(tables) if tables else None), unreadable


def print_tolls(tolls: Iterable[Toll], console: Console) -> None:
    """The table."""
    columns = ["injected", "lost", "doubled", "different", "unreadable", "unclear", "wasted"]
    table = Table("fault", box=None, header_style="bold", pad_edge=False)
    heads = ["times", "rows lost", "rows doubled", "rows different", "files unreadable", "errors unclear"]
    for head in [*heads, "windows labelled again"]:
        table.add_column(head, justify="right")
    for toll in tolls:
        table.add_row(toll.fault, *(str(getattr(toll, column)) for column in columns))
    console.print(table)
