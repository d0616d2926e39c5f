"""One clip without Ray."""

from pathlib import Path

import pytest

import emolabel
from emolabel.config import FaceSettings, Settings, WindowPolicy
from emolabel.errors import MediaError, SourceError, Status
from emolabel.labels import EMOTIONS


def test_a_clip_gives_its_rows(clips: Path, quick: str) -> None:
    settings = Settings(windows=WindowPolicy(length_s=2.0), faces=FaceSettings(mode="all"))
    with emolabel.load_model(quick, settings=settings, device="cpu") as model:
        rows = model.annotate(str(clips / "two_faces.mp4"))
        assert model.annotate(str(clips / "no_face.mp4"))["status"].tolist() == ["no_face", "no_face"]
    assert rows["window_index"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows["face_id"].tolist() == [0, 1] * 3
    assert rows[list(EMOTIONS)].sum(axis=1).tolist() == pytest.approx([1.0] * 6, abs=1e-5)
    assert set(rows["status"]) == {"ok"}


def test_what_cannot_be_labelled_is_said(clips: Path, quickest: str) -> None:
    with emolabel.load_model(quickest, device="cpu") as model:
        with pytest.raises(MediaError, match="moov") as caught:
            model.annotate(str(clips / "broken.mp4"))
        assert caught.value.status is Status.UNREADABLE
        with pytest.raises(MediaError, match="no such file"):
            model.annotate(str(clips / "gone.mp4"))
        with pytest.raises(SourceError, match="is not one file"):
            model.annotate(str(clips))
