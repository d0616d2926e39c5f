"""Prepared data sets: what `jobs/prepare.py` wrote, ready to be read clip by clip in any order.

The Parquet files are copied once into an uncompressed Arrow file, which is mapped into memory: folds that train side
by side share its pages, and a set need not fit into memory.
"""

import hashlib
import os
import uuid
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emolabel.errors import Status, TrainingError
from emolabel.labels import EMOTIONS
from emolabel.pipeline.prepare import read_spec
from emolabel.sampling import AudioSampling, InputSpec
from emolabel.types import ClipInputs, CropSequence, Float32Array

_CONTENT = ("face", "motion", "audio")
_NEEDED = ("video_id", "input", "start_s", "end_s", "label", "status", *_CONTENT)


@dataclass(frozen=True)
class Sample:
    """One clip, picture or recording with its label."""

    sample_id: str
    input: str
    start_s: float
    """Where in the input it starts and ends; also where its sound is centred."""
    end_s: float
    label: int
    """Its number in `labels.EMOTIONS`."""
    subject: str | None
    split: str | None
    dataset: str | None
    has_face: bool
    has_motion: bool
    has_audio: bool


class PreparedSet:
    """The usable samples of a prepared folder, in the order of their inputs."""

    def __init__(self, folder: Path) -> None:
        """Opens a prepared folder; the first time it is copied to `folder/cache`.

        Raises:
            TrainingError: it is none, or no sample in it has a label and something to see or hear.
        """
        self.folder = folder
        source = pa.memory_map(str(_cached(folder)))
        reader = pa.ipc.open_file(source)
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))
        found, self.unusable = _samples(self._batches)
        if not found:
            raise TrainingError(f"{folder} has no sample with a label and something to see or hear")
        # Ids depend on when files were copied.
        found.sort(key=lambda pair: (pair[0].input, pair[0].start_s))
        self.samples: tuple[Sample, ...] = tuple(sample for sample, _ in found)
        """`unusable` counts the rows that are left out, by status."""
        self._rows = [row for _, row in found]
        self._stored = read_spec(str(folder)).audio

    def __len__(self) -> int:
        return len(self.samples)

    def clip(self, number: int, spec: InputSpec) -> ClipInputs:
        """What a model sees and hears of a sample: just what it would when it is annotated."""
        return ClipInputs(
            face=self.crops(number, "face") if spec.face else None,
            motion=self.crops(number, "motion") if spec.motion else None,
            audio=self._heard(number, spec.audio) if spec.audio else None,
        )

    def crops(self, number: int, modality: str) -> CropSequence | None:
        """The crops of `face` or `motion`; the pixels are a view of the mapped file."""
        column, row = self._place(number, modality)
        if not column.is_valid()[row].as_py():
            return None
        side, length = (column.field(name)[row].as_py() for name in ("side_px", "slice_length"))
        pixels = np.frombuffer(column.field("pixels")[row].as_buffer(), np.uint8)
        index = column.field("index")[row].values.to_numpy().astype(np.int32)
        return CropSequence(pixels.reshape(-1, side, side, 3), index.reshape(-1, length) if length else index)

    def sound(self, number: int) -> Float32Array | None:
        """(n,) mono samples."""
        column, row = self._place(number, "audio")
        buffer = column[row].as_buffer()
        return None if buffer is None else np.frombuffer(buffer, np.float32)

    def _heard(self, number: int, wanted: AudioSampling) -> Float32Array | None:
        """The middle of the sound. More of it is stored than a model hears at once."""
        sound, sample = self.sound(number), self.samples[number]
        if sound is None or self._stored is None:
            return None
        # Both starts are rounded to the grid of samples on which the stretch was decoded.
        stored_s, wanted_s = (sampling.span(sample.start_s, sample.end_s)[0] for sampling in (self._stored, wanted))
        first = round(wanted_s * wanted.sample_rate_hz) - round(stored_s * wanted.sample_rate_hz)
        return sound[first : first + wanted.n_samples]

    @property
    def cache_folder(self) -> Path:
        """For files that can be computed again at any time."""
        return self.folder / "cache"

    def fingerprint(self) -> str:
        """SHA-256 over ids and labels: the same data set gives the same."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(f"{sample.sample_id} {sample.label}\n".encode())
        return digest.hexdigest()

    def _place(self, number: int, column: str) -> tuple[Any, int]:
        row = self._rows[number]
        batch = bisect_right(self._ends, row)
        first = self._ends[batch] - self._batches[batch].num_rows
        return self._batches[batch].column(column), row - first


def _samples(batches: list[pa.RecordBatch]) -> tuple[list[tuple[Sample, int]], Counter[str]]:
    """The usable samples with their row numbers, and how many rows of each status are not usable."""
    found: list[tuple[Sample, int]] = []
    unusable: Counter[str] = Counter()
    row = 0
    for batch in batches:
        has = {name: batch.column(name).is_valid().to_pylist() for name in _CONTENT}
        names = [name for name in batch.schema.names if name not in _CONTENT]
        for number, fields in enumerate(batch.select(names).to_pylist()):
            present = {f"has_{name}": has[name][number] for name in _CONTENT}
            if fields["label"] is None or not any(present.values()):
                unusable["no label" if fields["label"] is None else fields["status"]] += 1
            else:
                found.append((_sample(fields, present), row))
            row += 1
    return found, unusable


def _sample(fields: dict[str, Any], present: dict[str, bool]) -> Sample:
    if fields["label"] not in EMOTIONS:
        raise TrainingError(
            f"{fields['input']}: unknown label {fields['label']!r}; expected one of {', '.join(EMOTIONS)}"
        )
    subject, split, dataset = (_text(fields.get(name)) for name in ("subject", "split", "dataset"))
    label = EMOTIONS.index(fields["label"])
    return Sample(
        fields["video_id"],
        fields["input"],
        fields["start_s"],
        fields["end_s"],
        label,
        subject,
        split,
        dataset,
        **present,
    )


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _cached(folder: Path) -> Path:
    files = sorted((folder / "labels").glob("*.parquet"))
    if not files:
        raise TrainingError(f"{folder} is no prepared data set: `jobs/prepare.py` writes them")
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    cache = folder / "cache" / f"{hashlib.sha256(repr((_NEEDED, stats)).encode()).hexdigest()[:16]}.arrow"
    if not cache.exists():
        try:
            _write_cache(files, cache)
        except (OSError, pa.ArrowException) as error:
            raise TrainingError(f"cannot read the prepared data set {folder}: {error}") from error
    return cache


def _write_cache(files: list[Path], cache: Path) -> None:
    cache.parent.mkdir(exist_ok=True)
    for old in [*cache.parent.glob("*.arrow"), *cache.parent.glob("*.npy")]:
        old.unlink()
    draft = cache.with_name(f".{uuid.uuid4().hex}")
    wanted = [name for name in pq.read_schema(files[0]).names if name in (*_NEEDED, "subject", "split", "dataset")]
    absent = [name for name in _NEEDED if name not in wanted]
    if absent:
        raise TrainingError(
            f"{cache.parent.parent} has no column {absent[0]!r}: prepare it from a manifest with labels"
        )
    try:
        with pa.OSFile(str(draft), "wb") as sink:
            schema = pq.read_schema(files[0])
            schema = pa.schema([schema.field(name) for name in wanted])
            with pa.ipc.new_file(sink, schema) as writer:
                for file in files:
                    for batch in pq.ParquetFile(file).iter_batches(batch_size=256, columns=wanted):
                        writer.write_batch(batch.select(wanted).cast(schema))
        os.replace(draft, cache)
    finally:
        draft.unlink(missing_ok=True)


def failures(unusable: Counter[str]) -> str:
    """In words: `3 no_face, 1 unreadable`; empty where there are none."""
    return ", ".join(f"{n} {status}" for status, n in sorted(unusable.items()) if status != str(Status.OK))
