"""Which inputs there are: files, folders, globs, manifests, and any URI that pyarrow's file systems open."""

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from pyarrow import fs

from emolabel import schema
from emolabel.errors import SourceError, Status
from emolabel.pipeline.messages import Source

_SUFFIXES = """
3g2 3gp aac aif aiff amv asf avi divx dv f4v flac flv gif h264 h265 hevc ivf m2ts m2v m4a m4v mka mkv mov mp2 mp3 mp4
mpe mpeg mpg mpv mts mxf oga ogg ogv opus qt rm rmvb ts vob wav webm wma wmv y4m
"""
MEDIA_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
"""Names that a folder listing takes for media. A file given by its own name, or in a manifest, is always tried."""

MANIFEST_SUFFIXES = (".csv", ".parquet", ".jsonl", ".ndjson")


@dataclass
class Listing:
    """Every input once, in a stable order."""

    sources: list[Source] = field(default_factory=list)
    n_duplicates: int = 0
    """Inputs that were named more than once."""
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further manifest columns, by `video_id`."""
    extra_schema: pa.Schema = field(default_factory=lambda: pa.schema([]))

    def add(self, source: Source, extra: dict[str, Any] | None = None) -> None:
        """Add an input, unless it is there already."""
        if source.video_id in self._seen:
            self.n_duplicates += 1
            return
        self._seen.add(source.video_id)
        self.sources.append(source)
        if extra:
            self.extras[source.video_id] = extra

    def __post_init__(self) -> None:
        self._seen: set[str] = set()


def list_inputs(inputs: Sequence[str], limit: int | None = None) -> Listing:
    """List what the arguments name.

    Args:
        inputs: files, folders (searched with their subfolders), globs, manifests (CSV, Parquet or JSON lines with a
            `uri` column), or URIs such as `s3://bucket/folder`.
        limit: take at most this many inputs.

    Raises:
        SourceError: a manifest cannot be read, a file system does not answer, or nothing at all was found.
    """
    listing = Listing()
    for argument in inputs:
        if argument.lower().endswith(MANIFEST_SUFFIXES):
            found: Iterable[tuple[Source, dict[str, Any] | None]] = _manifest(argument, listing)
        else:
            found = ((source, None) for source in _expand(argument))
        for source, extra in found:
            if limit is not None and len(listing.sources) >= limit:
                return listing
            listing.add(source, extra)
    if not listing.sources:
        raise SourceError(f"no inputs found in {', '.join(redact(argument) for argument in inputs)}")
    return listing


def redact(uri: str) -> str:
    """The URI without credentials: neither in front of the host nor in the query.

    >>> redact("s3://key:secret@bucket/a.mp4")
    's3://***@bucket/a.mp4'
    >>> redact("https://host/a.mp4?X-Amz-Signature=abc")
    'https://host/a.mp4?***'
    """
    if "://" not in uri:
        return uri
    uri = re.sub(r"(?<=://)[^/@?#]*@", "***@", uri)
    return re.sub(r"\?.+$", "?***", uri, flags=re.DOTALL)


def video_id(input_name: str, size_bytes: int | None, version: str) -> str:
    """Stable id of one version of one input: 128 bits as 32 hex digits.

    Made of the redacted name, so that new credentials do not make a new video.
    """
    text = "\0".join([input_name, str(size_bytes), version])
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Location:
    """A place in a file system, and how to name its neighbours."""

    filesystem: fs.FileSystem
    path: str
    before: str = ""
    """What stands before a path in a URI of this file system; empty for local paths."""
    after: str = ""
    """The query of the URI, which may hold an endpoint or credentials."""

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def uri(self, path: str) -> str:
        """The URI of another path in this file system; a plain path on local disks."""
        return path if self.local else f"{self.before}{quote(path)}{self.after}"


def locate(uri: str) -> Location:
    """The file system of a URI or local path, and the path inside it.

    Raises:
        SourceError: no such file system, or it refuses.
    """
    if "://" not in uri:
        return Location(fs.LocalFileSystem(), os.path.abspath(uri))
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise SourceError(f"cannot open {redact(uri)}: {error}") from error
    head, question, query = uri.partition("?")
    ends = head.endswith(quote(path)) and path
    before = head[: -len(quote(path))] if ends else head.partition("://")[0] + "://"
    return Location(filesystem, path, before, question + query)


def _expand(argument: str) -> Iterator[Source]:
    at = locate(argument)
    if glob.has_magic(at.path) and not (at.local and os.path.lexists(at.path)):
        yield from _glob(at)
        return
    info = _info(at)
    if info.type is fs.FileType.Directory:
        yield from _folder(at, at.path)
    else:
        yield _source(at.uri(at.path), info)


def _info(at: Location) -> fs.FileInfo:
    try:
        return at.filesystem.get_file_info(at.path)
    except OSError as error:
        raise SourceError(f"cannot list {redact(at.uri(at.path))}: {error}") from error


def _folder(at: Location, folder: str) -> Iterator[Source]:
    try:
        infos = at.filesystem.get_file_info(fs.FileSelector(folder, recursive=True))
    except OSError as error:
        raise SourceError(f"cannot list {redact(at.uri(folder))}: {error}") from error
    for info in sorted(infos, key=lambda info: info.path):
        hidden = any(part.startswith(".") for part in PurePosixPath(info.path).relative_to(folder).parts)
        if info.type is not fs.FileType.Directory and not hidden:
            yield _source(at.uri(info.path), info, skip_other_suffixes=True)


def _glob(at: Location) -> Iterator[Source]:
    if at.local:
        for path in sorted(glob.glob(at.path, recursive=True)):
            info = at.filesystem.get_file_info(path)
            if info.type is not fs.FileType.Directory:
                yield _source(path, info, skip_other_suffixes=True)
        return
    folder = re.split(r"[*?\[]", at.path, maxsplit=1)[0].rpartition("/")[0]
    matches = re.compile(_glob_regex(at.path)).fullmatch
    for source in _folder(at, folder):
        if matches(locate(source.uri).path):
            yield source


def _glob_regex(pattern: str) -> str:
    """`*` and `?` within a path part, `**/` over any number of parts; as `glob` does on local disks."""
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(part, part if part.startswith("[") and part.endswith("]") else re.escape(part)) for part in parts
    )


def _source(uri: str, info: fs.FileInfo, *, skip_other_suffixes: bool = False) -> Source:
    shown = redact(uri)
    size = info.size if info.type is fs.FileType.File else None
    version = str(info.mtime_ns) if info.mtime_ns is not None else ""
    status, error = None, None
    if info.type is fs.FileType.NotFound:
        status, error = Status.MISSING, "no such file"
    elif info.type is fs.FileType.Directory:
        status, error = Status.UNREADABLE, "a folder, not a file"
    elif skip_other_suffixes:
        suffix = PurePosixPath(uri).suffix.lower()
        if suffix and suffix not in MEDIA_SUFFIXES:
            status, error = Status.SKIPPED, f"not a media file by its name ({suffix}); name it directly to try it"
    return Source(video_id(shown, size, version), uri, shown, size, version, status, error)


def _manifest(argument: str, listing: Listing) -> Iterator[tuple[Source, dict[str, Any]]]:
    table = _read_manifest(argument)
    extra_fields = [f for f in table.schema if f.name != "uri"]
    _merge_extra_schema(listing, extra_fields, argument)
    folder = argument.rpartition("/")[0]
    for batch in table.to_batches(max_chunksize=1000):
        uris = [_absolute(str(uri), folder) for uri in batch.column("uri").to_pylist()]
        extras = batch.drop_columns(["uri"]).to_pylist() if extra_fields else [{}] * len(uris)
        yield from zip(_named(uris), extras, strict=True)


def _read_manifest(argument: str) -> pa.Table:
    at = locate(argument)
    try:
        with at.filesystem.open_input_file(at.path) as stream:
            if argument.lower().endswith(".csv"):
                options = pyarrow.csv.ConvertOptions(column_types={"uri": pa.string()})
                table = pyarrow.csv.read_csv(stream, convert_options=options)
            elif argument.lower().endswith(".parquet"):
                table = pyarrow.parquet.read_table(stream)
            else:
                table = pyarrow.json.read_json(stream)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"cannot read the manifest {redact(argument)}: {error}") from error
    if "uri" not in table.column_names:
        found = ", ".join(table.column_names)
        raise SourceError(f"the manifest {redact(argument)} has no column 'uri'; it has: {found}")
    if table.column("uri").null_count:
        raise SourceError(f"the manifest {redact(argument)} has {table.column('uri').null_count} rows without a 'uri'")
    return table


def _merge_extra_schema(listing: Listing, fields: list[pa.Field], argument: str) -> None:
    taken = {*schema.LABELS.names, *schema.INPUTS.names}
    clashes = [f.name for f in fields if f.name in taken]
    if clashes:
        raise SourceError(
            f"the manifest {redact(argument)} has columns that the output has too: {', '.join(clashes)}; rename them"
        )
    try:
        listing.extra_schema = pa.unify_schemas([listing.extra_schema, pa.schema(fields).remove_metadata()])
    except pa.ArrowException as error:
        raise SourceError(f"the manifests give one column two types: {error}") from error


def _absolute(uri: str, folder: str) -> str:
    if "://" in uri or uri.startswith("/"):
        return uri
    return f"{folder}/{uri}" if folder else uri


def _named(uris: Sequence[str]) -> Iterator[Source]:
    """Inputs named one by one: asked for in bulk, which object stores answer in parallel."""
    places = [locate(uri) for uri in uris]
    infos: dict[int, fs.FileInfo] = {}
    for type_name in {at.filesystem.type_name for at in places}:
        chosen = [i for i, at in enumerate(places) if at.filesystem.type_name == type_name]
        filesystem = places[chosen[0]].filesystem
        try:
            infos.update(zip(chosen, filesystem.get_file_info([places[i].path for i in chosen]), strict=True))
        except OSError as error:
            raise SourceError(f"cannot list {redact(uris[chosen[0]])} and others: {error}") from error
    for i, at in enumerate(places):
        yield _source(at.uri(at.path), infos[i])
