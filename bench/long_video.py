"""One hour of video as one file: peak memory of each process, and how busy the workers are.

`python -m bench.long_video` loops a demo clip, labels it with `emolabel annotate`, and watches the processes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import av
import psutil
from rich.console import Console
from rich.table import Table

from emolabel.config import DEFAULT_MODEL
from emolabel.demo import make_demo_clips

_STAGES = ("PlanStage", "DecodeStage", "PredictStage", "emolabel.media.child", "emolabel annotate", "raylet")


def loop_video(clip: Path, target: Path, seconds: float) -> None:
    """Repeat a clip without decoding it until it is `seconds` long."""
    with av.open(str(target), "w") as sink:
        shift_s, outputs = 0.0, {}
        while shift_s < seconds:
            with av.open(str(clip)) as source:
                # A little more than the longest stream, so that stamps never run backwards at the joints.
                length_s = float(source.duration or 0) / av.time_base + 0.1
                for stream in source.streams.video + source.streams.audio:
                    if stream.index not in outputs:
                        outputs[stream.index] = sink.add_stream_from_template(stream)
                for packet in source.demux():
                    if packet.dts is not None:
                        shift = round(shift_s / packet.time_base)
                        packet.pts += shift
                        packet.dts += shift
                        packet.stream = outputs[packet.stream.index]
                        sink.mux(packet)
            shift_s += length_s


def watch(command: list[str]) -> tuple[float, dict[str, dict[int, tuple[int, float]]]]:
    """Run a command; seconds, and by stage and process id the peak resident bytes and the CPU seconds."""
    started = time.monotonic()
    job = subprocess.Popen(command)
    seen: dict[str, dict[int, tuple[int, float]]] = defaultdict(dict)
    while job.poll() is None:
        for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
            try:
                name = " ".join(process.cmdline()).replace("-m emolabel", "emolabel")
                stage = next((stage for stage in _STAGES if stage in name), None)
                if stage is not None:
                    peak, _ = seen[stage].get(process.pid, (0, 0.0))
                    used = process.cpu_times()
                    seen[stage][process.pid] = (max(peak, process.memory_info().rss), used.user + used.system)
            except psutil.Error:
                continue  # it ended while we looked
        time.sleep(1)
    assert job.returncode == 0, f"the run failed with status {job.returncode}"
    return time.monotonic() - started, seen


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = Path(folder) / "clips"
        make_demo_clips(clips)
        long = Path(folder) / "hour.mp4"
        loop_video(clips / "long.mp4", long, 60 * options.minutes)
        command = [sys.executable, "-m", "emolabel", "annotate", str(long), "-o", f"{folder}/out"]
        seconds, seen = watch([*command, "--model", options.model, "--workers", "2"])
    table = Table("process", "pid", "peak memory (MB)", "CPU seconds", "share of the run", box=None, pad_edge=False)
    for stage in _STAGES:
        for pid, (peak, cpu) in seen[stage].items():
            table.add_row(stage, str(pid), f"{peak / 1e6:.0f}", f"{cpu:.0f}", f"{cpu / seconds:.0%}")
    console = Console(width=120)
    console.print(table)
    console.print(f"{options.minutes:.0f} minutes of video in {seconds:.0f} s")


if __name__ == "__main__":
    main()
