"""`make bench`: both sides in one run, in turn, medians of five. Machines are noisy: read the ratios."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.naive import label_clip, sampled_frames
from emolabel.config import FaceSettings
from emolabel.demo import make_demo_clips
from emolabel.faces.cascade import build_detector
from emolabel.pipeline.local import load_model

_RUNS = 5
_OUT = Path("bench-out.parquet")


@dataclass(frozen=True)
class Comparison:
    """Seconds of each side, run by run."""

    what: str
    ours_s: list[float]
    theirs_s: list[float]

    @property
    def ratio(self) -> float:
        """How many times as fast: the median over pairs."""
        return statistics.median(b / a for a, b in zip(self.ours_s, self.theirs_s, strict=True))


def compare(what: str, ours: Callable[[], object], theirs: Callable[[], object]) -> Comparison:
    """Run both in turn, after one turn that is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(_RUNS + 1):
        for side, work in zip(times, (ours, theirs), strict=True):
            started = time.perf_counter()
            work()
            if turn:
                side.append(time.perf_counter() - started)
    return Comparison(what, *times)


def main() -> None:
    """Print the table and write it to `bench-out.parquet`."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, load_model(device="cpu") as ours:
        make_demo_clips(Path(folder))
        clip = Path(folder) / "two_faces.mp4"
        model = ours.bundle.model
        mtcnn = MTCNN(keep_all=True)
        detector = build_detector(FaceSettings())
        frames = sampled_frames(clip, model)
        results = [
            compare(
                f"face detection, {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}, one thread",
                lambda: detector.detect(frames),
                lambda: [mtcnn.detect(Image.fromarray(frame)) for frame in frames],
            ),
            compare(
                "one clip from file to label, one thread",
                lambda: ours.annotate(str(clip)),
                lambda: label_clip(clip, mtcnn, model),
            ),
        ]
    table = Table("what", "emolabel (s)", "facenet-pytorch, by hand (s)", "times as fast", box=None, pad_edge=False)
    for result in results:
        medians = (statistics.median(result.ours_s), statistics.median(result.theirs_s))
        table.add_row(result.what, *(f"{median:.2f}" for median in medians), f"{result.ratio:.2f}")
    Console(width=140).print(table)
    pq.write_table(pa.Table.from_pylist([vars(result) | {"ratio": result.ratio} for result in results]), _OUT)


if __name__ == "__main__":
    main()
