"""Manifests: tables with a `uri` column, `start_s` and `end_s` if wanted; other columns ride along to the output."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from emolabel import schema
from emolabel.errors import SourceError
from emolabel.pipeline.locations import Location, locate
from emolabel.pipeline.stretch import Stretch

SUFFIXES = (".csv", ".parquet", ".jsonl", ".ndjson")

_STRETCH = ("start_s", "end_s")


@dataclass(frozen=True)
class Manifest:
    """A checked manifest."""

    uris: list[str]
    """Absolute: relative ones start at the manifest's folder."""
    stretches: list[Stretch]
    """What to take of each file."""
    extras: pa.Table
    """The other columns, in plain types: string, int64, double, bool."""

    def rows(self) -> Iterator[tuple[str, Stretch, dict[str, Any]]]:
        """URI, stretch and other columns, row by row."""
        yield from zip(self.uris, self.stretches, self._extras(), strict=True)

    def _extras(self) -> Iterator[dict[str, Any]]:
        if not self.extras.num_columns:
            yield from ({} for _ in self.uris)
        for batch in self.extras.to_batches(max_chunksize=1000):
            yield from batch.to_pylist()


def read_manifest(argument: str) -> Manifest:
    """Read a CSV, Parquet or JSON lines manifest.

    Raises:
        SourceError: it cannot be read, has no `uri` in some row, a time that is no number, or a column that the output
            has too.
    """
    at = locate(argument)
    table = _read(at)
    names = table.column_names
    if len(set(names)) != len(names):
        raise SourceError(f"the manifest {at.shown} has two columns of one name; it has: {', '.join(names)}")
    if "uri" not in names:
        raise SourceError(f"the manifest {at.shown} has no column 'uri'; it has: {', '.join(names)}")
    ours = {*schema.LABELS.names, *schema.INPUTS.names}.difference(_STRETCH)
    clashes = [name for name in names if name in ours]
    if clashes:
        raise SourceError(
            f"the manifest {at.shown} has columns that the output has too: {', '.join(clashes)}; rename them"
        )
    uris = [str(uri or "").strip() for uri in table["uri"].to_pylist()]
    if not all(uris):
        raise SourceError(f"the manifest {at.shown} has no 'uri' in row {uris.index('') + 1}")
    folder = argument.rpartition("/")[0]
    starts, ends = (_seconds(table, name, at) for name in _STRETCH)
    others = [name for name in names if name not in ("uri", *_STRETCH)]
    extras = pa.table({name: _plain(table[name]) for name in others})
    return Manifest([_absolute(uri, folder) for uri in uris], list(zip(starts, ends, strict=True)), extras)


def _read(at: Location) -> pa.Table:
    try:
        with at.filesystem.open_input_file(at.path) as stream:
            if at.path.lower().endswith(".csv"):
                options = pyarrow.csv.ConvertOptions(column_types={"uri": pa.string()})
                return pyarrow.csv.read_csv(stream, convert_options=options)
            if at.path.lower().endswith(".parquet"):
                return pyarrow.parquet.read_table(stream)
            return pyarrow.json.read_json(stream)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"cannot read the manifest {at.shown}: {error}") from error


def _seconds(table: pa.Table, name: str, at: Location) -> list[float | None]:
    """A column of times; empty fields, and a table's NaN, are None."""
    if name not in table.column_names:
        return [None] * len(table)
    seconds: list[float | None] = []
    for row, value in enumerate(table[name].to_pylist(), start=1):
        try:
            number = math.nan if value in (None, "") else float(value)
        except (TypeError, ValueError):
            raise SourceError(f"the manifest {at.shown} has {name} = {value!r} in row {row}: not seconds") from None
        seconds.append(None if math.isnan(number) else number)
    return seconds


def _absolute(uri: str, folder: str) -> str:
    if "://" in uri or uri.startswith("/"):
        return uri
    return f"{folder}/{uri}" if folder else uri


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The output promises plain types to readers that know nothing of us."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    tests = ((pa.types.is_boolean, pa.bool_()), (pa.types.is_integer, pa.int64()), (pa.types.is_floating, pa.float64()))
    plain = next((plain for test, plain in tests if test(column.type)), pa.string())
    try:
        return column.cast(plain)
    except pa.ArrowException:  # lists and structs, or integers above 2^63
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
