"""What an adapter found, for people."""

from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from emolabel.labels import EMOTIONS
from training.datasets.manifest import SPLITS, DataSet


def summary(dataset: DataSet, published: Mapping[str, int] | None = None) -> Iterator[RenderableType]:
    """Tables and lines: samples by split and class, what was dropped and why, and how many people there are.

    Args:
        dataset: what was found.
        published: sizes of the splits as distributed, dropped samples included; splits that are absent are not missed.
    """
    yield _samples(dataset, published or {})
    if dataset.dropped:
        yield _dropped(dataset)
    yield _subjects(dataset)


def _samples(dataset: DataSet, published: Mapping[str, int]) -> Table:
    counts = Counter((sample.split, sample.label) for sample in dataset.samples)
    gone = Counter(dropped.split for dropped in dataset.dropped)
    table = _table(dataset.name, "split", *EMOTIONS, "all", *(["dropped"] if gone else []))
    if published:
        table.add_column("as published", justify="right")
    splits = _splits(dataset)
    for split in splits:
        row = [counts[split, emotion] for emotion in EMOTIONS]
        cells = [split or "none", *map(_count, row), _count(sum(row)), *([_count(gone[split])] if gone else [])]
        found = sum(row) + gone[split]
        if split in published:
            right = found == published[split]
            cells.append(_count(published[split]) if right else f"[yellow]{published[split]:,}, found {found:,}")
        table.add_row(*cells)
    if len(splits) > 1:
        totals = [sum(counts[split, emotion] for split in splits) for emotion in EMOTIONS]
        table.add_section()
        table.add_row(
            "all", *map(_count, totals), _count(sum(totals)), *([_count(len(dataset.dropped))] if gone else [])
        )
    return table


def _dropped(dataset: DataSet) -> Table:
    splits = [split for split in _splits(dataset) if any(dropped.split == split for dropped in dataset.dropped)]
    table = _table("dropped", "why", *(split or "no split" for split in splits))
    counts = Counter((dropped.reason, dropped.split) for dropped in dataset.dropped)
    for reason in dict.fromkeys(dropped.reason for dropped in dataset.dropped):
        table.add_row(escape(reason), *(_count(counts[reason, split]) for split in splits))
    return table


def _subjects(dataset: DataSet) -> str:
    known = Counter(sample.subject for sample in dataset.samples if sample.subject)
    unknown = len(dataset.samples) - known.total()
    if not known:
        return "subjects: unknown, so folds cannot keep people apart"
    least, most = min(known.values()), max(known.values())
    each = f"{least:,}" if least == most else f"{least:,}-{most:,}"
    rest = f"; unknown for {unknown:,} samples" if unknown else ""
    return f"subjects: {len(known):,}, with {each} samples each{rest}"


def _splits(dataset: DataSet) -> list[str]:
    present = {sample.split for sample in dataset.samples} | {dropped.split for dropped in dataset.dropped}
    return [split for split in (*SPLITS, "") if split in present]


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _count(number: int) -> str:
    return f"{number:,}" if number else "-"
