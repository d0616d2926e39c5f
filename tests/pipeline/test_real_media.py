"""Every real file of the shared media: one row each, and a face flag that agrees with what people saw in it."""

from pathlib import Path

import pytest

import emolabel
from tests.pipeline.compare import labels_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

UNDECODABLE = {"empty_file.mp4", "text_named.mp4", "truncated_no_moov.mp4"}
AUDIO_ONLY = {"audio_only.m4a", "audio_only_named_mp4.mp4"}
SCRIPTS = {"make_derived.sh", "make_intel.sh"}


def faces_column(sources: Path) -> dict[str, tuple[int, int]]:
    """File to least and greatest number of faces, from the tables of SOURCES.md."""
    faces: dict[str, tuple[int, int]] = {}
    for line in sources.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and cells[5] and cells[5][0].isdigit():
            low, _, high = cells[5].partition("-")
            faces[cells[0]] = (int(low), int(high or low))
    return faces


@pytest.fixture(scope="module")
def out(shared_videos: Path, attentive: str, tmp_path_factory: pytest.TempPathFactory, ray_here: None) -> Path:
    folder = tmp_path_factory.mktemp("real") / "out"
    emolabel.annotate(shared_videos, folder, model=attentive)
    return folder


def test_one_row_per_file_and_a_reason_for_each_that_cannot_be_read(out: Path, shared_videos: Path) -> None:
    files = sorted(str(path) for path in shared_videos.rglob("*") if path.is_file())
    inputs = emolabel.read_inputs(out)
    assert sorted(inputs["input"]) == files
    inputs["name"] = inputs["input"].map(lambda path: Path(path).name)
    by_status = inputs.groupby("status")["name"].agg(set).to_dict()
    assert by_status["unreadable"] == UNDECODABLE
    assert by_status["no_video"] == AUDIO_ONLY
    assert by_status["skipped"] == SCRIPTS
    assert by_status["partial"] == {"corrupt_h264_decord.mp4"}
    assert inputs.loc[inputs["status"] != "ok", "error"].str.len().gt(8).all()


def test_face_flags_agree_with_what_people_saw(out: Path, shared_videos: Path) -> None:
    seen = faces_column(shared_videos.parent / "SOURCES.md")
    assert len(seen) > 40
    labels = labels_of(out)
    flags = labels.groupby(labels["input"].map(lambda path: Path(path).name))["has_face"].any().to_dict()
    wrong = {name: flags[name] for name, (low, high) in seen.items() if flags[name] not in (low > 0, high > 0)}
    assert wrong == {}
    assert set(flags) == set(seen) | AUDIO_ONLY
