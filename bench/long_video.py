"""One hour of video as one file: peak memory of each process, and how busy the workers are.

`python -m bench.long_video` loops a demo clip, labels it with `emolabel annotate`, and watches the processes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import av
from rich.console import Console

from bench.processes import print_processes, watch
from emolabel.config import DEFAULT_MODEL
from emolabel.demo import make_demo_clips


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
    console = Console(width=120)
    print_processes(console, seconds, seen)
    console.print(f"{options.minutes:.0f} minutes of video in {seconds:.0f} s")


if __name__ == "__main__":
    main()
