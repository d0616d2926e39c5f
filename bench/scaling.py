"""One worker against two, and each against the same work without Ray around it: `python -m bench.scaling`.

Windows a second from the first that came to the last: start-up is another matter (`bench.end_to_end`).
"""

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

import emolabel
from bench.end_to_end import make_collection, speaking
from emolabel.demo import make_demo_clips
from emolabel.pipeline.annotate import Progress
from emolabel.pipeline.cores import n_cores, take_core
from emolabel.pipeline.local import Annotator

_annotator: Annotator | None = None


def annotate_rate(videos: Path, out: Path, workers: int) -> float:
    """Windows a second of `emolabel annotate`."""
    seen: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        if progress.n_windows:
            seen.append((time.monotonic(), progress.n_windows))

    emolabel.annotate(videos, out, workers=workers, overwrite=True, on_progress=note)
    (first_s, n_first), (last_s, n_last) = seen[0], seen[-1]
    return (n_last - n_first) / (last_s - first_s)


def plain_rate(videos: Path, processes: int) -> float:
    """Windows a second of as many processes that decode, look, listen and score, each a file at a time.

    Like workers, they have a core each where there is one for each.
    """
    files = [str(path) for path in sorted(videos.iterdir())]
    settles = processes == n_cores()
    with multiprocessing.get_context("spawn").Pool(processes, _load, [settles]) as pool:
        _label(pool, files[:processes])  # each loads and warms up; the first may take two
        started = time.monotonic()
        n_windows = _label(pool, files)
        return n_windows / (time.monotonic() - started)


def _load(settles: bool) -> None:
    global _annotator
    while settles and take_core() is None:
        time.sleep(0.1)  # workers of the run before may still be ending
    torch.set_num_threads(1)
    _annotator = emolabel.load_model(device="cpu")


def _label(pool: Pool, files: list[str]) -> int:
    return sum(pool.imap_unordered(_n_windows, files))


def _n_windows(path: str) -> int:
    assert _annotator is not None
    return len(_annotator.annotate(path))


def main() -> None:
    """Alternating runs; medians, of the ratios too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=15)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        make_collection(videos, speaking(make_demo_clips(Path(folder) / "clips")), options.minutes)
        for _ in range(options.runs):
            for n in (1, 2):
                rates.setdefault(("annotate", n), []).append(annotate_rate(videos, Path(folder) / "out", n))
                rates.setdefault(("plain processes", n), []).append(plain_rate(videos, n))
    table = Table("", "one", "two", "two against one", "runs", box=None, pad_edge=False)
    for what in ("annotate", "plain processes"):
        one, two = rates[what, 1], rates[what, 2]
        gains = [b / a for a, b in zip(one, two, strict=True)]
        figures = (f"{median(values):.2f}" for values in (one, two, gains))
        table.add_row(what, *figures, ", ".join(f"{a:.2f} {b:.2f}" for a, b in zip(one, two, strict=True)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
