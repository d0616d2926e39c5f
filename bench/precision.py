"""Looking at pictures in bfloat16 against float32, on the same windows: `python -m bench.precision INPUT...`.

Labels, scores, and the model's time: inputs are decoded, and faces found, once for both.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import emolabel
from bench.timing import RUNS, Comparison, compare, report
from emolabel.config import DEFAULT_MODEL, Settings, WindowPolicy
from emolabel.models.base import EmotionModel
from emolabel.models.bundle import load_bundle
from emolabel.models.layout import make_quick
from emolabel.pipeline.sources import list_inputs
from emolabel.types import ClipInputs, Float32Array


def clips_of(inputs: list[str], model: str, window_s: float) -> list[ClipInputs]:
    """What the model gets of every window."""
    settings = Settings(windows=WindowPolicy(length_s=window_s))
    with emolabel.load_model(model, settings=settings, device="cpu") as annotator:
        return [
            clip
            for source in list_inputs(inputs).sources
            for chunk in annotator.plan(source)
            for result in annotator.decode(chunk)
            for clip in result.clips
        ]


def compare_precision(clips: list[ClipInputs], model: str, batch_size: int, runs: int = RUNS) -> Comparison:
    """Both on the same clips, in turn."""
    exact, rounded = load_bundle(model, "cpu").model, load_bundle(model, "cpu").model
    make_quick(exact)
    make_quick(rounded, "bfloat16")
    before, after = _scores(exact, clips, batch_size), _scores(rounded, clips, batch_size)
    same = (before.argmax(axis=1) == after.argmax(axis=1)).mean()
    return compare(
        f"{model}, {len(clips)} windows",
        lambda: _scores(rounded, clips, batch_size),
        lambda: _scores(exact, clips, batch_size),
        f"{same:.2%} of {len(before)} labels the same, scores {np.abs(before - after).mean():.5f} apart",
        runs,
        warm_up=False,
    )


def _scores(model: EmotionModel, clips: list[ClipInputs], batch_size: int) -> Float32Array:
    """(n, 7) of the clips that have any."""
    batches = [clips[first : first + batch_size] for first in range(0, len(clips), batch_size)]
    predictions = [one for batch in batches for one in model.predict(batch)]
    return np.stack([one.probabilities for one in predictions if one.probabilities is not None])


def main() -> None:
    """On the windows of some inputs, one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--window", type=float, default=1.0, help="seconds")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = clips_of(options.inputs, options.model, options.window)
    result = compare_precision(clips, options.model, options.batch_size, options.runs)
    report([result], Path("bench-precision.parquet"), sides=("bfloat16", "float32"))


if __name__ == "__main__":
    main()
