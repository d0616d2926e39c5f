"""Making an output folder forget rows, so that a run does them again. Each file is replaced in one step."""

from collections import Counter
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from emolabel.errors import Status
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.sources import Listing


def forget_failed(folder: OutputFolder, listing: Listing, statuses: Collection[Status]) -> None:
    """`--retry-failed`: forget the failed windows and inputs of a listing; what was labelled stays.

    Rows of `inputs` go first: killed in between, the next run finds inputs without their row, and gives them one.

    Args:
        statuses: which failures.
    """
    listed = pa.array(list(listing.sources.ids()), pa.string())
    wanted = pa.array([str(status) for status in statuses], pa.string())

    def failed(table: pa.Table) -> pa.ChunkedArray:
        return pc.and_(pc.is_in(table["video_id"], listed), pc.is_in(table["status"], wanted))

    touched = [table.filter(failed(table))["video_id"] for table in folder.read_each("labels", ["video_id", "status"])]
    with_failed_windows = pa.chunked_array([chunk for ids in touched for chunk in ids.chunks], pa.string())
    columns = ["video_id", "status"]
    folder.drop_rows(
        "inputs",
        columns,
        lambda table: pc.or_(failed(table), pc.is_in(table["video_id"], with_failed_windows.combine_chunks())),
    )
    folder.drop_rows("labels", columns, failed)


def forget_superseded(folder: OutputFolder, listing: Listing) -> None:
    """Forget inputs that failed as a whole and have another content now: a missing file that has come, say."""
    inputs = folder.read("inputs", ["video_id", "input", "start_s", "end_s", "status", "n_labelled"])
    failures = pa.array([str(status) for status in Status if status.failure])
    fruitless = inputs.filter(pc.and_(pc.is_in(inputs["status"], failures), pc.equal(inputs["n_labelled"], 0)))
    if not len(fruitless):
        return
    now = {(source.input, source.start_s, source.end_s): source.video_id for source in listing.sources}
    rows = fruitless.select(["input", "start_s", "end_s", "video_id"]).to_pylist()
    replaced = [video_id for *place, video_id in map(dict.values, rows) if now.get(tuple(place), video_id) != video_id]
    old = pa.array(replaced, pa.string())
    if len(old):
        for kind in ("inputs", "labels"):
            folder.drop_rows(kind, ["video_id"], lambda table: pc.is_in(table["video_id"], old))


def forget_incomplete(folder: OutputFolder) -> None:
    """Forget the row of inputs whose windows are not all there any more: a damaged file was removed, say."""
    n_written: Counter[str] = Counter()
    for labels in folder.read_each("labels", ["video_id", "window_index"]):
        windows = labels.group_by(["video_id", "window_index"]).aggregate([])  # one with many faces has many rows
        counts = windows.group_by("video_id").aggregate([("window_index", "count")])
        n_written.update(
            dict(zip(*(counts[name].to_pylist() for name in ("video_id", "window_index_count")), strict=True))
        )

    def incomplete(table: pa.Table) -> pa.ChunkedArray:
        there = pa.chunked_array(
            [pa.array([n_written[video_id] for video_id in table["video_id"].to_pylist()], pa.int64())]
        )
        return pc.less(there, table["n_windows"])

    folder.drop_rows("inputs", ["video_id", "n_windows"], incomplete)
