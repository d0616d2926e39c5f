"""The output folder: which files lie in it, and how one appears there whole or not at all."""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from emolabel import schema
from emolabel.errors import OutputError
from emolabel.pipeline.lease import ObjectLease, file_lock
from emolabel.pipeline.locations import locate

RUN_FILE = "run.json"
_RETRY_PAUSES_S = (1.0, 4.0, 15.0)
_SCHEMAS = {"labels": schema.LABELS, "inputs": schema.INPUTS}


class OutputFolder:
    """`labels/*.parquet`, `inputs/*.parquet` and `run.json` under one folder, local or in an object store."""

    def __init__(self, uri: str) -> None:
        at = locate(uri)
        self.uri = at.uri
        self.shown = at.shown
        self._local = at.local
        self._filesystem = at.filesystem
        self._root = at.path.rstrip("/")
        self._lease: ObjectLease | None = None

    def create(self) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be made, or not be written to.
        """
        with self._errors("cannot create the output folder"):
            for name in ("labels", "inputs"):
                self._filesystem.create_dir(f"{self._root}/{name}", recursive=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other jobs out while this one writes.

        Raises:
            OutputError: another job writes here.
        """
        with ExitStack() as held:
            with self._errors("cannot lock the output folder"):
                if self._local:
                    held.enter_context(file_lock(f"{self._root}/.lock", self.shown))
                    self._sweep()
                else:
                    self._lease = ObjectLease(self._filesystem, f"{self._root}/.lock", self.shown)
                    held.enter_context(self._lease.held())
            yield

    def _sweep(self) -> None:
        """Remove what a killed run had not finished writing."""
        for folder in (self._root, f"{self._root}/labels", f"{self._root}/inputs"):
            for entry in os.scandir(folder):
                if entry.name.startswith((".part-", f".{RUN_FILE}.")):
                    os.unlink(entry.path)

    def parquet_files(self, kind: str) -> list[str]:
        """Paths of the finished files of `labels` or `inputs`, oldest name first."""
        selector = fs.FileSelector(f"{self._root}/{kind}", allow_not_found=True)
        with self._errors("cannot list the output folder"):
            infos = self._filesystem.get_file_info(selector)
        paths = [info.path for info in infos if info.type is fs.FileType.File]
        return sorted(
            path for path in paths if path.endswith(".parquet") and not path.rpartition("/")[2].startswith(".")
        )

    def read(self, kind: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of `labels` or `inputs`; some of their columns, or all, with those of manifests."""
        known = _SCHEMAS[kind]
        empty = pa.schema([known.field(name) for name in columns or known.names]).empty_table()
        return pa.concat_tables([empty, *self.read_each(kind, columns)], promote_options="permissive")

    def read_each(self, kind: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The same file by file."""
        return (self._read_file(path, columns) for path in self.parquet_files(kind))

    def write(self, kind: str, name: str, table: pa.Table) -> None:
        """Add a file; it appears whole or not at all. A second try under the same name replaces the first."""
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        self._put(f"{self._root}/{kind}/{name}.parquet", buffer.getvalue())

    def drop_rows(self, kind: str, columns: list[str], unwanted: Callable[[pa.Table], pa.ChunkedArray]) -> None:
        """Remove rows of `labels` or `inputs`, file by file, each in one step.

        Args:
            columns: what `unwanted` looks at. The rest, crops and sound maybe, is read of files that lose rows only.
            unwanted: for a file's table of these columns, which rows go.
        """
        for path in self.parquet_files(kind):
            goes = unwanted(self._read_file(path, columns))
            if not pc.any(goes).as_py():
                continue
            kept = self._read_file(path, None).filter(pc.invert(goes))
            if len(kept):
                self.write(kind, path.rpartition("/")[2].removesuffix(".parquet"), kept)
            else:
                with self._errors("cannot remove a file of the output folder"):
                    self._filesystem.delete_file(path)

    def read_run(self) -> dict[str, Any] | None:
        """`run.json`, or None where there is none.

        Raises:
            OutputError: it is there but cannot be understood.
        """
        path = f"{self._root}/{RUN_FILE}"
        with self._errors("cannot read the output folder"):
            if self._filesystem.get_file_info(path).type is not fs.FileType.File:
                return None
            with self._filesystem.open_input_file(path) as stream:
                content = stream.read()
        try:
            run = json.loads(content)
        except ValueError as error:
            raise OutputError(f"{self.shown}/{RUN_FILE} is damaged: {error}") from error
        if not isinstance(run, dict):
            raise OutputError(f"{self.shown}/{RUN_FILE} is not a run of emolabel")
        return run

    def write_run(self, run: dict[str, Any]) -> None:
        """Replace `run.json` in one step."""
        self._put(f"{self._root}/{RUN_FILE}", json.dumps(run, indent=2).encode())

    def clear(self) -> None:
        """Remove all labels, inputs and `run.json`; what else lies there stays."""
        with self._errors("cannot clear the output folder"):
            for kind in ("inputs", "labels"):  # in this order: an input that has its row must have its labels
                for path in self.parquet_files(kind):
                    self._filesystem.delete_file(path)
            if self._filesystem.get_file_info(f"{self._root}/{RUN_FILE}").type is fs.FileType.File:
                self._filesystem.delete_file(f"{self._root}/{RUN_FILE}")

    def _read_file(self, path: str, columns: list[str] | None) -> pa.Table:
        try:
            # Not `read_table`: it would take a name like `a=b` in the path for a partition.
            with self._filesystem.open_input_file(path) as stream:
                return pq.ParquetFile(stream).read(columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise OutputError(f"{path} cannot be read: {error}. Remove it and run again") from error

    def _put(self, path: str, content: bytes | pa.Buffer) -> None:
        with self._errors("cannot write to the output folder"):
            if self._local:
                _put_locally(path, content)
                return
            for pause_s in _RETRY_PAUSES_S:
                if self._lease is not None:
                    self._lease.check()
                try:
                    self._put_object(path, content)
                    return
                except OSError:
                    time.sleep(pause_s)
            self._put_object(path, content)

    def _put_object(self, path: str, content: bytes | pa.Buffer) -> None:
        with self._filesystem.open_output_stream(path) as stream:  # object stores show whole objects only
            stream.write(content)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turns storage errors into an `OutputError` with the folder's name."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{what} {self.shown}: {error}") from error


def _put_locally(path: str, content: bytes | pa.Buffer) -> None:
    folder, _, name = path.rpartition("/")
    draft = f"{folder}/.{name}.{uuid.uuid4().hex}"  # hidden: readers with a glob never see it
    try:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync_folder(folder)
    except OSError:
        if os.path.exists(draft):
            os.unlink(draft)
        raise


def _sync_folder(folder: str) -> None:
    """A rename survives a power cut only once its folder was written too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
