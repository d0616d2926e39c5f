"""What a run costs its driver and its head node: `python -m bench.driver --files 100000`.

Everything is real but the work: planning knows without looking what a file holds, decoding makes labels up. What
is left is listing, Ray, the sink, and at last a run that finds everything finished.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from rich.console import Console

from emolabel import schema
from emolabel.config import DEFAULT_MODEL, Settings
from emolabel.errors import Status
from emolabel.labels import EMOTIONS
from emolabel.media.windows import cut_chunks, cut_windows
from emolabel.pipeline import build
from emolabel.pipeline.annotate import Progress, RunOptions, annotate_inputs
from emolabel.pipeline.cluster import ray_session
from emolabel.pipeline.messages import Chunk, InputFacts, Source, WindowResult, sources_of
from emolabel.pipeline.parcels import chunk_parcels
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import InputSpec
from emolabel.types import MediaInfo, VideoInfo

FPS = 25


class MadeUpPlan(build.PlanStage):
    """Each file is a video of so many seconds."""

    seconds = 1.0

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        chunks = (chunk for source in sources_of(batch) for chunk in self._cut(source))
        yield from chunk_parcels(chunks, self._parcel_s)

    def _cut(self, source: Source) -> Iterator[Chunk]:
        times_s = np.arange(round(self.seconds * FPS)) / FPS
        video = VideoInfo("h264", 640, 360, 0, None, times_s, self.seconds, True, True)
        info = MediaInfo("mov,mp4", self.seconds, video, None, None)
        windows = cut_windows(0.0, self.seconds, self._settings.windows)
        facts = InputFacts.probed(source, info, len(windows))
        for chunk in cut_chunks(windows, self._settings.chunk_s):
            yield Chunk(source, facts, chunk, info)


class MadeUpDecode(build.DecodeStage):
    """Each window is happy."""

    def __init__(self, _spec: InputSpec, _settings: Settings, stamp: RunStamp, *_: object) -> None:
        self._decode: Any = _made_up
        self._tools: Any = stamp
        self._scorer: Any = list
        self._gathers, self._gather_s = True, 0.0


def _made_up(chunk: Chunk, stamp: RunStamp) -> Iterator[WindowResult]:
    for window in chunk.windows:
        row = {
            "video_id": chunk.facts.video_id,
            "input": chunk.facts.input,
            "window_index": window.index,
            "n_windows": chunk.facts.n_windows,
            "start_s": window.start_s,
            "end_s": window.end_s,
            "face_id": 0,
            "n_frames": 16,
            "n_face_frames": 16,
            "has_face": True,
            "has_audio": False,
            "status": str(Status.OK),
            "dominant_emotion": EMOTIONS[3],
            **dict.fromkeys(EMOTIONS, 1 / 7),
            **vars(stamp),
        }
        yield WindowResult(chunk.facts, window.index, pa.Table.from_pylist([row], schema=schema.LABELS), seconds=0.1)


class _Meter:
    """Time and memory of this process, and CPU of Ray's own."""

    def __init__(self) -> None:
        self._me = psutil.Process()
        self.start()

    def start(self) -> None:
        self._began, self._cpu, self._rss = time.monotonic(), self._cpu_s(), self._me.memory_info().rss

    def _cpu_s(self) -> dict[str, float]:
        seconds = {"driver": _cpu_s(self._me), "raylet": 0.0, "gcs_server": 0.0}
        for process in self._me.children(recursive=True):
            name = process.name()
            if name in seconds:
                seconds[name] += _cpu_s(process)
        return seconds

    def line(self, what: str, n: int) -> str:
        """What it took since the start, for each of `n`."""
        spent = {name: seconds - self._cpu[name] for name, seconds in self._cpu_s().items()}
        each = ", ".join(f"{name} {1000 * seconds / n:.2f} ms" for name, seconds in spent.items() if seconds)
        grown = (self._me.memory_info().rss - self._rss) / n
        seconds = time.monotonic() - self._began
        return f"{what}: {seconds:.0f} s; CPU each: {each}; memory of the driver: {grown:.0f} B each"


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Label made-up files, and once more, when there is nothing left to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each")
    options = parser.parse_args()

    class Plan(MadeUpPlan):  # a class of this function travels to the workers as it is
        seconds = options.seconds

    build.PlanStage, build.DecodeStage = Plan, MadeUpDecode  # type: ignore[misc]
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as folder, ray_session(None):
        videos = Path(folder) / "videos"
        videos.mkdir()
        for i in range(options.files):
            (videos / f"{i:07}.mp4").write_bytes(b"made up")
        meter = _Meter()

        def run() -> Progress:
            return annotate_inputs([str(videos)], f"{folder}/out", DEFAULT_MODEL, Settings(), RunOptions(workers=2))

        done = run()
        assert done.n_finished == options.files, done
        console.print(meter.line(f"{options.files} files, {done.n_windows} windows", options.files))
        meter.start()
        assert run().n_done_before == options.files
        console.print(meter.line("nothing left to do", options.files))


if __name__ == "__main__":
    main()
