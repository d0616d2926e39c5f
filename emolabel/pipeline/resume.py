"""What an output folder holds already. The output itself is the checkpoint."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emolabel import schema
from emolabel.config import Settings
from emolabel.errors import OutputError
from emolabel.pipeline.messages import Source
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.tally import TALLIED, InputTally


@dataclass(frozen=True)
class Finished:
    """What earlier runs have written."""

    inputs: frozenset[str] = frozenset()
    """`video_id` of inputs that have their row, and so all their windows."""
    started: dict[str, InputTally] = field(default_factory=dict)
    """Inputs with some windows written."""

    def missing(self, sources: Iterable[Source]) -> list[Source]:
        """The inputs that still need work, each with its windows that do not."""
        return [
            replace(source, done_windows=tuple(sorted(self.started[source.video_id].windows)))
            if source.video_id in self.started
            else source
            for source in sources
            if source.video_id not in self.inputs
        ]


def fingerprint(settings: Settings, model: str, model_sha256: str) -> dict[str, Any]:
    """What must be the same for two runs to share an output folder: all that changes a row, or its keys."""
    relevant = asdict(settings)
    del relevant["limits"], relevant["chunk_s"]  # how work is done, not what comes out of it
    return {"schema_version": schema.SCHEMA_VERSION, "model": model, "model_sha256": model_sha256, **relevant}


def check_fingerprint(folder: OutputFolder, wanted: dict[str, Any]) -> dict[str, Any]:
    """`run.json` of the folder, or a fresh one.

    Raises:
        OutputError: the folder was written with other settings, or by something else.
    """
    run = folder.read_run()
    if run is None:
        if folder.parquet_files("labels") or folder.parquet_files("inputs"):
            raise OutputError(f"{folder.shown} holds Parquet files but no run.json: choose another folder")
        return {"fingerprint": wanted, "runs": []}
    before = _flat(run.get("fingerprint", {}))
    now = _flat(wanted)
    changes = [
        f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise OutputError(
            f"{folder.shown} holds labels made with other settings: {'; '.join(changes)}. "
            "Choose another folder, or start it afresh with --overwrite"
        )
    return run


def read_finished(folder: OutputFolder) -> Finished:
    """What the folder's files hold."""
    inputs = folder.read("inputs", ["video_id"])["video_id"].combine_chunks()
    labels = folder.read("labels", ["video_id", "window_index", *TALLIED])
    unfinished = labels.filter(pc.invert(pc.is_in(labels["video_id"], value_set=inputs)))
    started: dict[str, InputTally] = {}
    for video_id, rows in _groups(unfinished):
        tally = started.setdefault(video_id, InputTally())
        for row in rows:
            tally.add(row["window_index"], [row])
    return Finished(frozenset(inputs.to_pylist()), started)


def _groups(table: pa.Table) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    for batch in table.to_batches(max_chunksize=10_000):
        by_id: dict[str, list[dict[str, Any]]] = {}
        for row in batch.to_pylist():
            by_id.setdefault(row["video_id"], []).append(row)
        yield from by_id.items()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
