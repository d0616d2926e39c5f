"""Parcels: rows that travel between the stages together, as one row.

The engine has some milliseconds of work with every row, more than a picture needs to be decoded.
"""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from emolabel.pipeline.messages import Chunk, WindowResult, ipc_bytes, windows_of, windows_table

_SCHEMA = pa.schema([("rows", pa.large_binary())])
_MAX_CHUNKS = 32


def chunk_parcels(chunks: Iterable[Chunk], most_s: float | None) -> Iterator[pa.Table]:
    """One row for each chunk, or for a few that are quickly done: pictures, single words, inputs that failed.

    Args:
        most_s: of video in a row of several chunks. None: each chunk travels alone, so that one which kills its
            worker takes no other with it.
    """
    light: list[Chunk] = []
    for chunk in chunks:
        if most_s is None or _seconds([chunk]) > most_s:
            yield _parcel(chunk.to_table())
            continue
        if len(light) == _MAX_CHUNKS or _seconds([*light, chunk]) > most_s:
            yield _parcel(pa.concat_tables([one.to_table() for one in light]))
            light = []
        light.append(chunk)
    if light:
        yield _parcel(pa.concat_tables([one.to_table() for one in light]))


def chunks_of(parcels: pa.Table) -> list[Chunk]:
    """The chunks of some parcels."""
    table = _rows(parcels)
    return [Chunk.from_table(table.slice(row, 1)) for row in range(len(table))]


def window_parcel(results: Sequence[WindowResult]) -> pa.Table:
    """One row for all of the windows."""
    return _parcel(windows_table(results))


def results_of(parcels: pa.Table) -> list[WindowResult]:
    """The windows of some parcels."""
    return windows_of(_rows(parcels))


def _seconds(chunks: Iterable[Chunk]) -> float:
    return sum(window.end_s - window.start_s for chunk in chunks for window in chunk.windows)


def _parcel(table: pa.Table) -> pa.Table:
    return pa.table({"rows": pa.array([ipc_bytes(table)], pa.large_binary())}, schema=_SCHEMA)


def _rows(parcels: pa.Table) -> pa.Table:
    return pa.concat_tables([pa.ipc.open_stream(rows.as_buffer()).read_all() for rows in parcels["rows"]])
