"""Inputs by the million: as Arrow rows, a few times smaller than objects."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

import pyarrow as pa

from emolabel.pipeline.messages import Source, sources_of, sources_table

_BLOCK: Final = 4096


class SourceList(Sequence[Source]):
    """A list of inputs that can only grow; what it hands out is made anew each time."""

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self._blocks: list[pa.Table] = []
        self._rest: list[Source] = []
        for source in sources:
            self.append(source)

    def append(self, source: Source) -> None:
        """Add one at the end."""
        self._rest.append(source)
        if len(self._rest) == _BLOCK:
            self._blocks.append(sources_table(self._rest))
            self._rest = []

    def __len__(self) -> int:
        return _BLOCK * len(self._blocks) + len(self._rest)

    def __iter__(self) -> Iterator[Source]:
        for block in self._blocks:
            yield from sources_of(block)
        yield from self._rest

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> list[Source]: ...
    def __getitem__(self, index: int | slice) -> Source | list[Source]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        block, row = divmod(range(len(self))[index], _BLOCK)
        if block == len(self._blocks):
            return self._rest[row]
        return sources_of(self._blocks[block].slice(row, 1))[0]

    def ids(self) -> Iterator[str]:
        """`video_id` of each."""
        for block in self._blocks:
            yield from block["video_id"].to_pylist()
        yield from (source.video_id for source in self._rest)

    def tables(self, size: int) -> Iterator[pa.Table]:
        """All of them, at most `size` in a table."""
        for block in [*self._blocks, sources_table(self._rest)]:
            for first in range(0, len(block), size):
                yield block.slice(first, size)
