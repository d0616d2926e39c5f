"""A list of inputs as Arrow rows is the same list."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.errors import Status
from emolabel.pipeline import source_list
from emolabel.pipeline.messages import Source, sources_of
from emolabel.pipeline.source_list import SourceList

SOURCE = Source("ab" * 16, "s3://key:secret@bucket/a.mp4", "s3://***@bucket/a.mp4", 5, "1700000000")
KINDS = (
    SOURCE,
    replace(SOURCE, uri="/a.mp4", input="/a.mp4"),
    replace(SOURCE, size_bytes=None, version="", status=Status.MISSING, error="no such file"),
    replace(SOURCE, start_s=1.5, done_windows=(0, 2)),
)


@given(st.lists(st.sampled_from(KINDS), max_size=20), st.integers(1, 7))
def test_it_holds_what_was_put_in(sources: list[Source], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_list, "_BLOCK", 4)
        held = SourceList(sources)
        assert list(held) == sources
        assert len(held) == len(sources)
        assert [held[i] for i in range(-len(sources), len(sources))] == sources + sources
        assert held[1:-1] == sources[1:-1]
        assert list(held.ids()) == [source.video_id for source in sources]
        tables = list(held.tables(size))
        assert [source for table in tables for source in sources_of(table)] == sources
        assert all(0 < len(table) <= size for table in tables)
        with pytest.raises(IndexError):
            held[len(sources)]
