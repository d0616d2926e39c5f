"""Small prepared data sets that can be learnt: each class has its own picture, movement and pitch."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emolabel import schema
from emolabel.labels import EMOTIONS, N_EMOTIONS
from emolabel.pipeline.clips import STORED_SCHEMA, clip_row
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec, SliceSampling
from emolabel.types import ClipInputs, CropSequence

RATE_HZ = 16_000
FACE_PX = 32
_EXTRA = pa.schema([(name, pa.string()) for name in ("label", "subject", "split", "dataset")])

_ANY = {pa.string(): "", pa.int32(): 1, pa.float64(): 1.0, pa.bool_(): True}

MakeSet = Callable[..., Path]


def write_run(folder: Path, spec: InputSpec) -> None:
    (folder / "run.json").write_text(json.dumps({"fingerprint": {"spec": asdict(spec)}}))


def pattern(label: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Stripes whose direction tells the class, in noise."""
    y, x = np.mgrid[:side, :side] / side
    angle = np.pi * label / N_EMOTIONS
    stripes = np.sin(2 * np.pi * 4 * (np.cos(angle) * x + np.sin(angle) * y) + random.uniform(0, 6))
    noisy = 128 + 70 * stripes[..., None] + random.normal(0, 20, (side, side, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def clip_of_class(
    label: int, random: np.random.Generator, motion: bool = False, seconds: float = 1.0, n_frames: int = 3
) -> ClipInputs:
    crops = np.stack([pattern(label, FACE_PX, random) for _ in range(n_frames)])
    face = CropSequence(crops, np.arange(n_frames, dtype=np.int32))
    slices = None
    if motion:
        frames = np.stack([pattern(label, 112, random) for _ in range(4)])
        slices = CropSequence(frames, np.tile(np.arange(16, dtype=np.int32) % 4, (2, 1)))
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * 150 * 1.45**label * times + random.uniform(0, 6)) + random.normal(0, 0.1, len(times))
    return ClipInputs(face, slices, (0.3 * tone).astype(np.float32))


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """A folder as `jobs/prepare.py` writes it."""

    def make(
        name: str = "set",
        n: int = 28,
        n_subjects: int = 7,
        split: str | None = None,
        motion: bool = False,
        without: tuple[str, ...] = (),
        seed: int = 0,
        seconds: float = 1.0,
    ) -> Path:
        random = np.random.default_rng(seed)
        rows = []
        for number in range(n):
            label = number % N_EMOTIONS
            clip = clip_of_class(label, random, motion, seconds)
            row = {field.name: None if field.nullable else _ANY[field.type] for field in STORED_SCHEMA} | clip_row(clip)
            row |= dict.fromkeys(without)
            row |= {
                "video_id": f"{name}-{seed}-{number:04d}",
                "input": f"{name}/{number:04d}.mp4",
                "start_s": 2.0,
                "end_s": 2.0 + seconds,
                "window_index": 0,
                "n_windows": 1,
                "face_id": 0,
                "has_face": True,
                "has_audio": True,
                "status": "ok",
                "audio_rate_hz": None if "audio" in without else RATE_HZ,
                "label": EMOTIONS[label],
                "subject": f"s{number // N_EMOTIONS % n_subjects}",
                "split": split,
                "dataset": name,
            }
            rows.append(row)
        folder = tmp_path / name
        (folder / "labels").mkdir(parents=True)
        for part, some in enumerate((rows[: n // 2], rows[n // 2 :])):
            table = pa.Table.from_pylist(some, schema=pa.schema([*STORED_SCHEMA, *_EXTRA]))
            pq.write_table(table, folder / "labels" / f"part-{part}.parquet")
        write_run(folder, InputSpec(FrameSampling(3, FACE_PX), SliceSampling(2), AudioSampling(RATE_HZ, 30.0)))
        assert set(schema.LABELS.names) <= set(table.column_names)
        return folder

    return make
