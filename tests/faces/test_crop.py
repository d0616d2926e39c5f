"""Crops against facenet-pytorch's own."""

import numpy as np
import pytest
from facenet_pytorch import extract_face
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emolabel.faces.crop import crop_face
from emolabel.types import UInt8Array

BOXES = {
    "face": (174.4, 119.6, 355.6, 340.5),
    "small": (250.2, 200.7, 281.6, 240.1),
    "left edge": (-12.5, 100.0, 80.3, 210.0),
    "corner": (430.0, 500.0, 540.0, 650.0),
    "everything": (-50.0, -50.0, 600.0, 700.0),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
@pytest.mark.parametrize(("crop_px", "margin_px"), [(160, 32), (160, 0), (112, 28)])
def test_is_extract_face(hopper: UInt8Array, box: tuple[float, ...], crop_px: int, margin_px: int) -> None:
    theirs = extract_face(Image.fromarray(hopper), np.array(box), image_size=crop_px, margin=margin_px)
    ours = crop_face(hopper, np.array(box, np.float32), crop_px, margin_px / crop_px)
    assert ours.shape == (crop_px, crop_px, 3)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, theirs.permute(1, 2, 0).numpy())


def test_a_square_crop_keeps_proportions() -> None:
    frame = np.zeros((300, 300, 3), np.uint8)
    frame[100:190, 120:160] = 255  # 40 wide and 90 high: a square of 60 px around (140, 145)
    crop = crop_face(frame, np.array([120, 100, 160, 190], np.float32), 60, 0, square=True)
    np.testing.assert_array_equal(crop, frame[115:175, 110:170])
    wider = crop_face(frame, np.array([120, 100, 160, 190], np.float32), 120, 0.5, square=True)
    np.testing.assert_array_equal(wider, frame[85:205, 80:200])


def test_margin_is_a_part_of_the_crop() -> None:
    frame = np.zeros((300, 300, 3), np.uint8)
    frame[100:180, 100:180] = 255
    crop = crop_face(frame, np.array([100, 100, 180, 180], np.float32), 100, 0.2)
    # 80 px of face and 10 px around it fill 100 px: nothing is resized.
    np.testing.assert_array_equal(crop, frame[90:190, 90:190])


@given(
    box=st.tuples(*[st.floats(-500, 500, width=32)] * 4),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    margin=st.floats(0, 0.9),
)
def test_any_box_gives_a_crop(box: tuple[float, ...], shape: tuple[int, int], margin: float) -> None:
    frame = np.full((*shape, 3), 77, np.uint8)
    crop = crop_face(frame, np.array(box, np.float32), 24, margin)
    assert crop.shape == (24, 24, 3)
    assert np.unique(crop).tolist() == [77]


def test_box_outside_takes_the_nearest_edge() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[:, -1] = 200
    assert np.unique(crop_face(frame, np.array([90, 0, 120, 40], np.float32), 16, 0.2)).tolist() == [200]


@pytest.mark.parametrize(("box", "margin"), [((0, 0, 9, 9), 1.0), ((0, 0, 9, 9), -0.1), ((0, 0, np.nan, 9), 0.2)])
def test_nonsense_is_refused(box: tuple[float, ...], margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin|finite"):
        crop_face(np.zeros((10, 10, 3), np.uint8), np.array(box, np.float32), 16, margin)
