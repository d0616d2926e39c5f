"""`emolabel annotate` against `bench.naive`, start-up included: `python -m bench.end_to_end [CLIP ...]`.

The clips, by default those of the demo that have a voice and one face, are looped to files of a minute each.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

import emolabel
from bench.long_video import loop_video
from bench.timing import RUNS, Comparison, compare, report
from emolabel.demo import make_demo_clips


def speaking(clips: list[Path]) -> list[Path]:
    """Those of the demo's clips that have a voice and one face: of two equally big ones either may be the biggest."""
    return [clip for clip in clips if clip.name in ("long.mp4", "short.mp4")]


def make_collection(folder: Path, clips: list[Path], minutes: int) -> None:
    """As many files of a minute as that, each of one of the clips."""
    folder.mkdir()
    for i in range(minutes):
        clip = clips[i % len(clips)]
        target = folder / f"{i:04}_{clip.stem}.mp4"
        if i < len(clips):
            loop_video(clip, target, 60)
        else:
            shutil.copy(folder / f"{i % len(clips):04}_{clip.stem}.mp4", target)


def compare_collection(clips: list[Path], minutes: int, scratch: Path, runs: int = RUNS) -> Comparison:
    """Both on the same files."""
    videos, ours, theirs = scratch / "videos", scratch / "ours", scratch / "theirs.parquet"
    make_collection(videos, clips, minutes)
    annotate = [sys.executable, "-m", "emolabel", "annotate", str(videos), "-o", str(ours), "--overwrite"]
    naive = [sys.executable, "-m", "bench.naive", str(videos), str(theirs)]
    times = compare("", lambda: _quietly(annotate), lambda: _quietly(naive), runs=runs, warm_up=False)
    labels = emolabel.read_labels(ours)
    labels["video"] = labels["input"].str.rpartition("/")[2]
    both = labels.merge(pd.read_parquet(theirs), on=["video", "window_index"], suffixes=("", "_naive"), how="outer")
    same = (both["dominant_emotion"] == both["dominant_emotion_naive"]).mean()
    what = f"{minutes} minutes of video from file to label, start-up included"
    return Comparison(what, times.ours_s, times.theirs_s, f"{same:.1%} of {len(both)} windows have the same label")


def _quietly(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def main() -> None:
    """Compare once, on some minutes of video."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--minutes", type=int, default=15)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        clips = options.clips or speaking(make_demo_clips(scratch / "clips"))
        report([compare_collection(clips, options.minutes, scratch, options.runs)], Path("bench-end-to-end.parquet"))


if __name__ == "__main__":
    main()
