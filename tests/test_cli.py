"""The command line as a user meets it: exit statuses, one-line errors, no tracebacks."""

import subprocess
import sys
from pathlib import Path

import pytest

import emolabel
from emolabel.demo import make_demo_clips


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emolabel", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["annotate", "videos", "-o", "out", "--model", "nosuch"], "no bundle 'nosuch'"),
        (["annotate", "empty", "-o", "out"], "no inputs found in empty"),
        (["annotate", "videos", "-o", "out", "--window", "-1"], "the window length must be positive, got -1.0 s"),
        (["annotate", "videos", "-o", "out", "--whole-clip", "--stride", "2"], "a stride needs a window length"),
        (["annotate", "videos", "-o", "out", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["annotate", "videos", "-o", "out", "--device", "tpu"], "a device is 'cpu' or 'cuda', got 'tpu'"),
        (["annotate", "videos", "-o", "videos/a.mp4"], "cannot create the output folder"),
        (["annotate", "list.csv", "-o", "out"], "has no column 'uri'; it has: path"),
        (["bundle", "show", "nosuch"], "no bundle 'nosuch'"),
        (["bundle", "new", "videos"], "exists already"),
        (["bundle", "import", "new", "--face", "videos/a.mp4"], "videos/a.mp4"),
    ],
)
def test_mistakes_are_one_line_and_status_1(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("path\na.mp4\n")
    got = run(*arguments, cwd=tmp_path)
    assert got.returncode == 1
    assert message in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1
    assert "Traceback" not in got.stderr + got.stdout


def test_unknown_option_is_status_2(tmp_path: Path) -> None:
    got = run("annotate", "x", "-o", "out", "--no-such-option", cwd=tmp_path)
    assert got.returncode == 2
    assert "--no-such-option" in got.stderr


def test_version_and_import_are_light(tmp_path: Path) -> None:
    assert run("version", cwd=tmp_path).stdout.strip() == emolabel.__version__
    heavy = "import emolabel, sys; print([m for m in ('torch', 'ray', 'pandas', 'av') if m in sys.modules])"
    got = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert got.stdout.strip() == "[]"


@pytest.mark.ray
@pytest.mark.slow
def test_first_run_second_run_dry_run_and_strict(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    make_demo_clips(clips)
    (clips / "long.mp4").unlink()
    dry = run("annotate", "clips", "-o", "out", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "6 inputs: 0 done already, 6 to do" in dry.stdout
    assert "1 of the probed ones cannot be read" in dry.stdout
    assert "one window takes about" in dry.stdout
    assert not (tmp_path / "out").exists()

    first = run("annotate", "clips", "-o", "out", "--strict", cwd=tmp_path)
    assert first.returncode == 3, first.stderr  # broken.mp4
    assert first.stderr == ""
    assert "moov" in first.stdout
    assert "THE MODEL IS UNTRAINED" in first.stdout
    assert "labels: " in first.stdout

    second = run("annotate", "clips", "-o", "out", "--strict", cwd=tmp_path)
    assert second.returncode == 3  # what failed before has still failed
    assert "6 inputs were finished by earlier runs and left as they are (1 of them failed)" in second.stdout
    assert "nothing left to do" in second.stdout
