"""Two ways to the same result, timed in turn. Machines are noisy: read the ratios."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

RUNS = 5


@dataclass(frozen=True)
class Comparison:
    """Seconds of each side, run by run."""

    what: str
    ours_s: list[float]
    theirs_s: list[float]
    agreement: str = ""
    """What the two results have in common."""

    @property
    def ratio(self) -> float:
        """How many times as fast: the median over pairs."""
        return statistics.median(b / a for a, b in zip(self.ours_s, self.theirs_s, strict=True))


def compare(
    what: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    agreement: str = "",
    runs: int = RUNS,
    warm_up: bool = True,
) -> Comparison:
    """Run both in turn; with `warm_up`, after one turn that is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(runs + warm_up):
        for side, work in zip(times, (ours, theirs), strict=True):
            started = time.perf_counter()
            work()
            if turn >= warm_up:
                side.append(time.perf_counter() - started)
    return Comparison(what, *times, agreement)


def report(results: Sequence[Comparison], out: Path, sides: tuple[str, str] = ("emolabel", "by hand")) -> None:
    """Print a table, and write the same to Parquet."""
    columns = "what", f"{sides[0]} (s)", f"{sides[1]} (s)", "times as fast", "agreement"
    table = Table(*columns, box=None, pad_edge=False)
    for result in results:
        medians = statistics.median(result.ours_s), statistics.median(result.theirs_s)
        table.add_row(result.what, *(f"{median:.2f}" for median in medians), f"{result.ratio:.2f}", result.agreement)
    Console(width=160).print(table)
    pq.write_table(pa.Table.from_pylist([vars(result) | {"ratio": result.ratio} for result in results]), out)
