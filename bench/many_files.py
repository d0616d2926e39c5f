"""Thousands of tiny files: what a file costs beside its decoding and inference. `python -m bench.many_files`."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import av
from rich.console import Console

from bench.processes import print_processes, watch
from emolabel.demo import make_demo_clips

_AT_WORK = "DecodeStage", "PredictStage", "emolabel.media.child"


def cut_second(clip: Path, target: Path) -> None:
    """The first second of a clip, without decoding it."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
        outputs = {stream.index: sink.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None and packet.pts * packet.time_base < 1:
                packet.stream = outputs[packet.stream.index]
                sink.mux(packet)


def main() -> None:
    """Label as many one-second files, and print what each process did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips, videos = Path(folder) / "clips", Path(folder) / "videos"
        make_demo_clips(clips)
        videos.mkdir()
        cut_second(clips / "long.mp4", videos / "0000000.mp4")
        for i in range(1, options.files):
            os.link(videos / "0000000.mp4", videos / f"{i:07}.mp4")
        command = [sys.executable, "-m", "emolabel", "annotate", str(videos), "-o", f"{folder}/out", "--workers", "2"]
        seconds, seen = watch(command)
        size = sum(path.stat().st_size for path in (Path(folder) / "out").rglob("*") if path.is_file())
    console = Console(width=120)
    print_processes(console, seconds, seen)
    work = {stage: sum(one.cpu_s for one in processes.values()) for stage, processes in seen.items()}
    beside = sum(cpu for stage, cpu in work.items() if stage not in _AT_WORK)
    ms = 1000 / options.files
    console.print(
        f"{options.files} files in {seconds:.0f} s: {seconds * ms:.1f} ms each; {sum(work.values()) * ms:.1f} ms of "
        f"CPU each, of which {beside * ms:.1f} ms beside decoding, faces and inference; "
        f"{size / options.files:.0f} bytes of Parquet each"
    )


if __name__ == "__main__":
    main()
