"""`make bench`: face detection and the whole way from file to label, both against facenet-pytorch by hand."""

import tempfile
from pathlib import Path

import torch

from bench.detection import compare_detectors
from bench.end_to_end import compare_collection, speaking
from bench.timing import report
from emolabel.demo import make_demo_clips


def main() -> None:
    """Print the table and write it to `bench-out.parquet`."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        clips = make_demo_clips(scratch / "clips")
        results = [result for clip in speaking(clips) for result in compare_detectors(clip)]
        results.append(compare_collection(speaking(clips), minutes=3, scratch=scratch))
    report(results, Path("bench-out.parquet"))


if __name__ == "__main__":
    main()
