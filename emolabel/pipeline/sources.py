"""Which inputs there are: files, folders, globs, manifests, and any URI that pyarrow's file systems open."""

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import fs

from emolabel.errors import SourceError, Status
from emolabel.pipeline.locations import Found, Kind, Location, found, locate, redact
from emolabel.pipeline.manifests import SUFFIXES, Manifest, read_manifest
from emolabel.pipeline.messages import Source
from emolabel.pipeline.shard import ALL, Shard
from emolabel.pipeline.source_list import SourceList
from emolabel.pipeline.stretch import WHOLE, Stretch, senseless

_MEDIA = """
3g2 3gp aac aif aiff amv asf avi divx dv f4v flac flv gif h264 h265 hevc ivf m2ts m2v m4a m4v mka mkv mov mp2 mp3 mp4
mpe mpeg mpg mpv mts mxf oga ogg ogv opus qt rm rmvb ts vob wav webm wma wmv y4m
"""
MEDIA_SUFFIXES = frozenset(f".{suffix}" for suffix in _MEDIA.split())
"""Names that a folder listing takes for media. A file given by its own name, or in a manifest, is always tried."""

_ASKED_AT_ONCE = 1000
_FOLDERS_ONE_BY_ONE = 1000

Extra = dict[str, Any]


@dataclass
class Listing:
    """Every input once, in a stable order."""

    sources: SourceList = field(default_factory=SourceList)
    n_duplicates: int = 0
    """Inputs that were named more than once."""
    extras: dict[str, Extra] = field(default_factory=dict)
    """Further manifest columns, by `video_id`."""
    extra_schema: pa.Schema = field(default_factory=lambda: pa.schema([]))

    def __post_init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, source: Source, extra: Extra) -> None:
        """Add an input, unless it is there already."""
        if extra:
            self.extras.setdefault(source.video_id, extra)
        identity = bytes.fromhex(source.video_id)  # half as big as the text
        if identity in self._seen:
            self.n_duplicates += 1
            return
        self._seen.add(identity)
        self.sources.append(source)


def list_inputs(
    inputs: Sequence[str], limit: int | None = None, outside: str | None = None, shard: Shard = ALL
) -> Listing:
    """List what the arguments name.

    Args:
        inputs: files, folders (searched with their subfolders), globs, manifests (CSV, Parquet or JSON lines with a
            `uri` column, and `start_s` and `end_s` where a stretch of a file is an input), or URIs such as
            `s3://bucket/folder`. Pictures are taken where they are named, not where a folder holds them.
        limit: take at most this many inputs.
        outside: a folder whose content is left out, because the output goes there.
        shard: the part that is taken; the others are not kept.

    Raises:
        SourceError: a manifest cannot be read, a file system does not answer, or nothing at all was found.
    """
    listing, n_found = Listing(), 0
    for argument in inputs:
        for source, extra in _sources(argument, listing):
            if outside is not None and source.uri.startswith(outside.rstrip("/") + "/"):
                continue
            n_found += 1
            if not shard.has(source.input):
                continue
            if limit is not None and len(listing.sources) >= limit:
                return listing
            listing.add(source, extra)
    if not n_found:
        raise SourceError(f"no inputs found in {', '.join(redact(argument) for argument in inputs)}")
    return listing


def _sources(argument: str, listing: Listing) -> Iterator[tuple[Source, Extra]]:
    if argument.lower().endswith(SUFFIXES):
        manifest = read_manifest(argument)
        try:
            schemas = [listing.extra_schema, manifest.extras.schema]
            listing.extra_schema = pa.unify_schemas([schema.remove_metadata() for schema in schemas])
        except pa.ArrowException as error:
            raise SourceError(f"two manifests give one column different types: {error}") from error
        yield from _named(manifest)
        return
    at = locate(argument)
    try:
        yield from ((source, {}) for source in _expand(at))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"cannot list {at.shown}: {str(error).replace(at.uri, at.shown)}") from None


def _expand(at: Location) -> Iterator[Source]:
    if glob.has_magic(at.path) and not (at.local and os.path.lexists(at.path)):
        yield from _glob(at)
        return
    what = at.look()
    if what.kind is not Kind.FOLDER:
        yield _source(at, what)
    elif at.local:
        yield from _local_folder(at, set())
    else:
        yield from _remote_folder(at)


def _local_folder(at: Location, visited: set[tuple[int, int]]) -> Iterator[Source]:
    """Not pyarrow's listing: that one loses links that lead nowhere, and follows those that lead upwards."""
    try:
        status = os.stat(at.path)
        names = sorted(os.listdir(at.path))
    except OSError:
        yield _source(at, Found(Kind.DENIED))
        return
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for name in names:
        if not name.startswith("."):
            entry = at.at(f"{at.path.rstrip('/')}/{name}")
            what = entry.look()
            if what.kind is Kind.FOLDER:
                yield from _local_folder(entry, visited)
            else:
                yield _source(entry, what, judge_by_name=True)


def _remote_folder(at: Location) -> Iterator[Source]:
    for info in _remote_infos(at):
        hidden = any(part.startswith(".") for part in PurePosixPath(info.path).relative_to(at.path).parts)
        what = found(info)
        if what.kind is not Kind.FOLDER and not hidden:
            yield _source(at.at(info.path), what, judge_by_name=True)


def _remote_infos(at: Location) -> Iterator[fs.FileInfo]:
    """All that a folder of an object store holds, by name.

    An answer comes as a whole, with 800 bytes for each object. So one folder is asked for after the other, unless
    they are so many that the asking would take longer than the rest.
    """
    top = at.filesystem.get_file_info(fs.FileSelector(at.path))
    folders = [info.path for info in top if info.type is fs.FileType.Directory]
    # A key with two slashes in a row makes a folder that holds itself.
    if len(folders) > _FOLDERS_ONE_BY_ONE or at.path in folders:
        yield from _by_name(at.filesystem.get_file_info(fs.FileSelector(at.path, recursive=True)))
        return
    for info in _by_name(top):
        yield info
        if info.type is fs.FileType.Directory:
            within = fs.FileSelector(info.path, recursive=True, allow_not_found=True)
            yield from _by_name(at.filesystem.get_file_info(within))


def _by_name(infos: list[fs.FileInfo]) -> Iterator[fs.FileInfo]:
    infos.sort(key=lambda info: info.path.split("/"), reverse=True)  # a folder's content stands together
    while infos:  # each is let go of as soon as it was looked at
        yield infos.pop()


def _glob(at: Location) -> Iterator[Source]:
    if at.local:
        for path in sorted(glob.glob(at.path, recursive=True)):
            what = at.at(path).look()
            if what.kind is not Kind.FOLDER:
                yield _source(at.at(path), what, judge_by_name=True)
        return
    folder = re.split(r"[*?\[]", at.path, maxsplit=1)[0].rpartition("/")[0]
    matches = re.compile(_glob_regex(at.path)).fullmatch
    yield from (source for source in _remote_folder(at.at(folder)) if matches(locate(source.uri).path))


def _glob_regex(pattern: str) -> str:
    """`*` and `?` within a path part, `**/` over any number of parts; as `glob` does on local disks."""
    known = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", pattern)
    return "".join(known.get(part, part if re.fullmatch(r"\[[^\]]+\]", part) else re.escape(part)) for part in parts)


def _named(manifest: Manifest) -> Iterator[tuple[Source, Extra]]:
    """Inputs named one by one: asked for in bulk, which object stores answer in parallel."""
    rows = manifest.rows()
    while batch := list(islice(rows, _ASKED_AT_ONCE)):
        places: list[Location | SourceError] = [_try_locate(uri) for uri, _, _ in batch]
        answers = _look_at_all([place for place in places if isinstance(place, Location)])
        for (uri, stretch, extra), place in zip(batch, places, strict=True):
            if isinstance(place, SourceError):
                shown, status = redact(uri), Status.UNSUPPORTED
                identity = video_id(shown, None, "", stretch)
                yield Source(identity, uri, shown, None, "", status, str(place), *stretch), extra
            else:
                yield _source(place, next(answers), stretch), extra


def _try_locate(uri: str) -> Location | SourceError:
    try:
        return locate(uri)
    except SourceError as error:
        return error


def _look_at_all(places: Sequence[Location]) -> Iterator[Found]:
    """What is at each place, in their order."""
    answers: dict[int, Found] = {i: place.look() for i, place in enumerate(places) if place.local}
    while missing := [i for i in range(len(places)) if i not in answers]:
        one = places[missing[0]]
        same = [i for i in missing if places[i].filesystem.equals(one.filesystem)]
        try:
            infos = one.filesystem.get_file_info([places[i].path for i in same])
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"cannot list {one.shown} and others: {error}") from error
        answers |= {i: found(info) for i, info in zip(same, infos, strict=True)}
    return iter([answers[i] for i in range(len(places))])


def video_id(name: str, size_bytes: int | None, version: str, stretch: Stretch = WHOLE) -> str:
    """Stable id of one version of one input, a file or a stretch of it: 128 bits as 32 hex digits.

    Made of the redacted URI, so that new credentials do not make a new video.
    """
    parts = [name, str(size_bytes), version, *(map(str, stretch) if stretch != WHOLE else ())]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _source(at: Location, what: Found, stretch: Stretch = WHOLE, *, judge_by_name: bool = False) -> Source:
    status, error = None, None
    suffix = PurePosixPath(at.path).suffix.lower()
    if what.kind is Kind.MISSING:
        status, error = Status.MISSING, "no such file"
    elif what.kind is Kind.DENIED:
        status, error = Status.DENIED, "no permission to look at it"
    elif judge_by_name and suffix and suffix not in MEDIA_SUFFIXES:
        status = Status.SKIPPED
        error = f"not a media file by its name ({os.fsencode(suffix).decode(errors='backslashreplace')})"
    elif (wrong := senseless(stretch)) is not None:
        status, error = Status.UNSUPPORTED, wrong
    identity = video_id(redact(at.uri), what.size_bytes, what.version, stretch)
    return Source(identity, at.uri, at.shown, what.size_bytes, what.version, status, error, *stretch)
