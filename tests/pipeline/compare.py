"""Two runs side by side."""

from pathlib import Path

import numpy as np
import pandas as pd

import emolabel

KEYS = ["video_id", "window_index", "face_id"]
OF_THE_RUN = ["run_id", "seconds_spent"]


def labels_of(out: Path) -> pd.DataFrame:
    """Labels in the order of their keys; a key that is there twice fails."""
    labels = emolabel.read_labels(out)
    assert not labels.duplicated(KEYS).any(), labels[labels.duplicated(KEYS, keep=False)][KEYS]
    return labels.sort_values(KEYS).reset_index(drop=True)


def assert_same_labels(a: Path, b: Path) -> None:
    """Equal rows; numbers to 1e-5."""
    left, right = (labels_of(out).drop(columns="run_id") for out in (a, b))
    assert len(left) == len(right)
    numeric = left.select_dtypes("number").columns
    np.testing.assert_allclose(left[numeric], right[numeric], atol=1e-5, rtol=0)
    pd.testing.assert_frame_equal(left.drop(columns=numeric), right.drop(columns=numeric))


def assert_same_inputs(a: Path, b: Path) -> None:
    """One row per input in both, equal but for who made them and how long it took."""
    left, right = (
        emolabel.read_inputs(out).drop(columns=OF_THE_RUN).sort_values("video_id").reset_index(drop=True)
        for out in (a, b)
    )
    assert left["video_id"].is_unique
    pd.testing.assert_frame_equal(left, right, atol=1e-5, rtol=0)
