"""Stage sink: finished windows become files. It runs in the driver, the only writer, so no row is written twice."""

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from emolabel import schema
from emolabel.pipeline.messages import InputFacts, Source, WindowResult
from emolabel.pipeline.output import OutputFolder
from emolabel.pipeline.resume import Finished
from emolabel.pipeline.source_list import SourceList
from emolabel.pipeline.stamp import RunStamp
from emolabel.pipeline.tally import TALLIED, InputTally

_FIRST_FLUSH_S = 2.0
_LONGEST_FLUSH_S = 60.0
_MAX_ROWS = 50_000
_MAX_BYTES = 64 * 2**20
_LOOSE_TABLES = 256
"""A table of one row takes some twenty times the memory of a row among others: so many, and they become one."""


class Sink:
    """Collects windows and commits them.

    Labels are committed before the input's row, so an input that has a row has all its windows. Files are written
    after 2, 4, 8 ... 60 seconds: the first labels show early, a kill costs little more than a minute of work, and a
    job of days does not leave a million small files. Prepared windows are big: they are written every 64 MB.
    """

    def __init__(
        self,
        folder: OutputFolder,
        stamp: RunStamp,
        started: Mapping[str, InputTally],
        extras: Mapping[str, Mapping[str, Any]],
        extra_schema: pa.Schema,
        result_schema: pa.Schema = schema.LABELS,
    ) -> None:
        """Args:
        started: what earlier runs wrote of inputs that are not finished, by `video_id`.
        extras: manifest columns to ride along, by `video_id`.
        result_schema: of the windows' rows.
        """
        self._folder = folder
        self._stamp = stamp
        self._tallies = dict(started)
        self._extras = extras
        self._extra_schema = extra_schema
        self._labels_schema = _with(result_schema, extra_schema)
        self._inputs_schema = _with(schema.INPUTS, extra_schema)
        self._finished: set[str] = set()
        self._labels: list[pa.Table] = []
        self._loose: list[pa.Table] = []
        self._inputs: list[dict[str, Any]] = []
        self._n_rows = self._n_bytes = 0
        # Each name is kept until its file is surely written, and then never used again.
        self._labels_part = _new_part()
        self._inputs_part = _new_part()
        self._pause_s = _FIRST_FLUSH_S
        self._last_flush = time.monotonic()

    def add(self, result: WindowResult) -> dict[str, Any] | None:
        """Take one window; returns the input's row when this was its last one."""
        facts = result.facts
        if facts.video_id in self._finished:
            return None  # the engine ran a task again after a node was lost
        tally = self._tallies.setdefault(facts.video_id, InputTally())
        if result.window_index is not None:
            if result.window_index in tally.windows:
                return None  # the same
            tally.add(result.window_index, result.labels.select(TALLIED).to_pylist(), result.seconds)
            self._keep(self._extended(result.labels, facts))
            self._n_rows += len(result.labels)
            self._n_bytes += result.labels.nbytes
        finished = None
        if facts.status is not None or len(tally.windows) == facts.n_windows:
            finished = tally.row(facts) | vars(self._stamp)
            self._inputs.append(finished | dict(self._extras.get(facts.video_id, {})))
            del self._tallies[facts.video_id]
            self._finished.add(facts.video_id)
        big = self._n_rows >= _MAX_ROWS or self._n_bytes >= _MAX_BYTES
        if big or time.monotonic() - self._last_flush >= self._pause_s:
            self.flush()
        return finished

    def unfinished(self, sources: Iterable[Source]) -> SourceList:
        """Those of the sources whose row is still missing, each with the windows that are not."""
        return Finished(frozenset(self._finished), started=self._tallies).missing(sources)

    def flush(self) -> None:
        """Commit what has been collected.

        Raises:
            OutputError: a file could not be written. What could is not written again; what could not is kept, and a
                later flush puts it under the same name, so that a write which only seemed to fail is no second one.
        """
        labels = [*self._labels, *self._loose]
        if labels:
            self._folder.write("labels", self._labels_part, pa.concat_tables(labels))
            self._labels, self._loose, self._labels_part = [], [], _new_part()
            self._n_rows = self._n_bytes = 0
        if self._inputs:
            inputs = pa.Table.from_pylist(self._inputs, schema=self._inputs_schema)
            self._folder.write("inputs", self._inputs_part, inputs)
            self._inputs, self._inputs_part = [], _new_part()
        self._pause_s = min(2 * self._pause_s, _LONGEST_FLUSH_S)
        self._last_flush = time.monotonic()

    def _keep(self, labels: pa.Table) -> None:
        self._loose.append(labels)
        if len(self._loose) == _LOOSE_TABLES:
            self._labels.append(pa.concat_tables(self._loose).combine_chunks())
            self._loose = []

    def _extended(self, labels: pa.Table, facts: InputFacts) -> pa.Table:
        if not len(self._extra_schema):
            return labels
        extra = self._extras.get(facts.video_id, {})
        columns = [pa.array([extra.get(field.name)] * len(labels), field.type) for field in self._extra_schema]
        return pa.Table.from_arrays([*labels.columns, *columns], schema=self._labels_schema)


def _new_part() -> str:
    return f"part-{uuid.uuid4().hex}"


def _with(base: pa.Schema, extra: pa.Schema) -> pa.Schema:
    return pa.schema([*base, *extra])
