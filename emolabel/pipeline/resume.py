"""What an output folder holds already. The output itself is the checkpoint."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emolabel import schema
from emolabel.config import Settings
from emolabel.errors import OutputError, Status
from emolabel.pipeline.messages import Source
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.source_list import SourceList
from emolabel.pipeline.tally import TALLIED, InputTally


@dataclass(frozen=True)
class Finished:
    """What earlier runs have written."""

    inputs: frozenset[str] = frozenset()
    """`video_id` of inputs that have their row, and so all their windows."""
    failed: frozenset[str] = frozenset()
    """Those of them that could not be read, or not whole."""
    started: dict[str, InputTally] = field(default_factory=dict)
    """Inputs with some windows written."""

    def missing(self, sources: Iterable[Source]) -> SourceList:
        """The inputs that still need work, each with its windows that do not."""
        return SourceList(
            replace(source, done_windows=tuple(sorted(self.started[source.video_id].windows)))
            if source.video_id in self.started
            else source
            for source in sources
            if source.video_id not in self.inputs
        )


def fingerprint(settings: Settings, model: str, model_sha256: str, extra: pa.Schema) -> dict[str, Any]:
    """What must be the same for two runs to share an output folder: all that changes a row, or its keys.

    Args:
        extra: columns of manifests.
    """
    relevant = asdict(settings)
    del relevant["limits"], relevant["chunk_s"]  # how work is done, not what comes out of it
    relevant["batch_bytes"] = settings.limits.batch_bytes  # but for this: faces are followed within a batch
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "model": model,
        "model_sha256": model_sha256,
        "manifest_columns": {field.name: str(field.type) for field in extra},
        **relevant,
    }


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
    inputs = folder.read("inputs", ["video_id", "status"])
    ids = inputs["video_id"].combine_chunks()
    failures = pa.array([str(status) for status in Status if status.failure])
    failed = inputs.filter(pc.is_in(inputs["status"], value_set=failures))["video_id"]
    started: dict[str, InputTally] = {}
    for labels in folder.read_each("labels", ["video_id", "window_index", *TALLIED]):
        unfinished = labels.filter(pc.invert(pc.is_in(labels["video_id"], value_set=ids)))
        # A window's rows stand side by side, in one file.
        for (video_id, window_index), rows in groupby(unfinished.to_pylist(), itemgetter("video_id", "window_index")):
            started.setdefault(video_id, InputTally()).add(window_index, rows)
    return Finished(frozenset(ids.to_pylist()), frozenset(failed.to_pylist()), started)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
