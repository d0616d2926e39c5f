"""`python jobs/dataset.py` as a user meets it."""

import subprocess
import sys
from pathlib import Path

import pytest

from emolabel.errors import TrainingError
from tests.training.datasets.conftest import Make
from training.datasets.manifest import read_manifest
from training.datasets.registry import ADAPTERS, read_dataset

JOB = Path(__file__).resolve().parents[3] / "jobs" / "dataset.py"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(JOB), *arguments], cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )


def cells(output: str, first: str) -> list[str]:
    """The cells of the row that starts with a word."""
    row = next(line for line in output.splitlines() if line.startswith(f"│ {first} "))
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_a_manifest_and_what_is_in_it(tmp_path: Path, make: Make) -> None:
    for name in ("Train/Angry/a.avi", "Train/Sad/b.avi", "Train/Sad/c.avi", "Val/Happy/d.avi", "Test/e.avi"):
        make(f"afew/{name}")
    (tmp_path / "subjects.csv").write_text("clip,subject\nb,Jane\nc,Jane\nd,Joe\n")
    got = run("afew", "afew", "-o", "out/manifest.csv", "--subjects", "subjects.csv", cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    # split, angry, disgust, fear, happy, sad, surprise, neutral, all, dropped, as published
    assert cells(got.stdout, "train") == ["train", "1", "-", "-", "-", "2", "-", "-", "3", "-", "773, found 3"]
    assert cells(got.stdout, "validation")[4:] == ["1", "-", "-", "-", "1", "-", "383, found 1"]
    assert cells(got.stdout, "test")[-3:] == ["-", "1", "653, found 1"]
    assert cells(got.stdout, "all")[8:10] == ["4", "1"]
    assert cells(got.stdout, "test clip without a label") == ["test clip without a label", "1"]
    assert "subjects: 2, with 1-2 samples each; unknown for 1 samples" in got.stdout
    samples = read_manifest(tmp_path / "out" / "manifest.csv")
    assert {Path(sample.uri).stem: sample.label for sample in samples} == {
        "a": "angry", "b": "sad", "c": "sad", "d": "happy",
    }  # fmt: skip
    assert all(Path(sample.uri).is_file() for sample in samples)


def test_people_who_are_not_known_are_said_to_be_unknown(tmp_path: Path, make: Make) -> None:
    make("afew/Train/Angry/a.avi")
    got = run("afew", "afew", "-o", "manifest.csv", cwd=tmp_path)
    assert "subjects: unknown, so folds cannot keep people apart" in got.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["afew", "absent", "-o", "m.csv"], "absent is not there"),
        (["fer2013", "empty", "-o", "m.csv", "--clean"], "no pictures of FER-2013 in empty: expected folders such as"),
        (["manifest", "mine.csv", "-o", "m.csv", "--label", "joy"], "--label takes THEIRS=OURS"),
        (["manifest", "mine.csv", "-o", "m.csv"], "unknown labels: 'contempt' (line 2)"),
        (["manifest", "mine.csv", "-o", "m.csv", "--drop-label", "contempt"], "mine has no samples left: 1 were"),
        (
            ["manifest", "mine.csv", "-o", "mine.csv/m.csv", "--label", "contempt=disgust"],
            "cannot write mine.csv/m.csv",
        ),
    ],
)
def test_mistakes_are_one_line_and_status_1(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.csv").write_text("uri,label\ns3://bucket/a.avi,contempt\n")
    got = run(*arguments, cwd=tmp_path)
    assert got.returncode == 1
    assert message in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m.csv").exists()


def test_every_adapter_is_a_command(tmp_path: Path) -> None:
    listed = run("--help", cwd=tmp_path).stdout
    assert all(f" {name} " in listed for name in ADAPTERS)
    assert run("affectnet", ".", "-o", "m.csv", cwd=tmp_path).returncode == 2


def test_the_registry_by_name(tmp_path: Path, make: Make) -> None:
    make("AudioWAV/1001_DFA_ANG_XX.wav")
    make("VideoFlash/1001_DFA_ANG_XX.flv")
    assert len(read_dataset("cremad", tmp_path, suffix="wav").samples) == 1
    with pytest.raises(TrainingError, match="no data set 'affectnet'; there are: afew, cremad"):
        read_dataset("affectnet", tmp_path)
