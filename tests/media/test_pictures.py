"""Pictures are videos of one frame, whatever their name and whatever else is in the file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emolabel.config import DecodeLimits
from emolabel.media.isolate import IsolatedMedia
from emolabel.types import MediaInfo, UInt8Array

RAMP = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8) * 2
"""(48, 64)"""


def read(path: Path) -> tuple[MediaInfo, UInt8Array]:
    with IsolatedMedia(DecodeLimits()) as media:
        info = media.probe(str(path))
        (batch,) = media.frames(str(path), info, np.arange(1))
    return info, batch.frames[0]


@pytest.mark.parametrize("name", ["face.jpg", "face.jpeg", "face.JPG", "face%03d.jpg", "face.mp4", "face"])
def test_a_jpeg_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    """By its name, FFmpeg would take it for a pattern of names (`image2`), which reads other files."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / name, format="JPEG", quality=95)
    info, frame = read(tmp_path / name)
    assert info.video is not None
    assert (info.container, info.audio, info.video.n_frames_content) == ("jpeg_pipe", None, 1)
    assert info.duration_s == pytest.approx(0.04)
    pillow = np.array(Image.open(tmp_path / name).convert("RGB")).astype(int)
    assert np.abs(frame - pillow).max() <= 1  # two decoders may round differently


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_png_pixels_are_exact(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(RAMP).convert(mode)
    picture.save(tmp_path / "face.png")
    info, frame = read(tmp_path / "face.png")
    assert info.container == "png_pipe"
    assert np.array_equal(frame, np.array(picture.convert("RGB")))


def test_a_second_picture_behind_the_first_is_left_alone(tmp_path: Path) -> None:
    """Phones append thumbnails and depth maps (MPO)."""
    first = Image.fromarray(RAMP).convert("RGB")
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[first.resize((32, 24))])
    info, frame = read(tmp_path / "phone.jpg")
    assert info.video is not None
    assert info.video.frame_times_s.tolist() == [0.0]
    assert frame.shape == (48, 64, 3)


def test_a_photograph_taken_upright_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise to show
    Image.fromarray(RAMP).convert("RGB").save(tmp_path / "upright.jpg", exif=exif, quality=95)
    info, frame = read(tmp_path / "upright.jpg")
    assert info.video is not None
    assert (info.video.width, info.video.height) == (48, 64)
    assert np.abs(frame[..., 0].astype(int) - np.rot90(RAMP, -1)).max() <= 2


def test_an_animated_png_is_still_a_video(tmp_path: Path) -> None:
    first = Image.fromarray(RAMP)
    first.save(tmp_path / "moving.png", save_all=True, append_images=[first.rotate(90)], duration=100)
    info, _ = read(tmp_path / "moving.png")
    assert info.video is not None
    assert (info.container, info.video.n_frames_content) == ("apng", 2)
