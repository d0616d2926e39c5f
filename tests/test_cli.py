"""The command line as a user meets it: exit statuses, one-line errors, no tracebacks."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import emolabel
from emolabel.cli import main
from emolabel.pipeline.annotate import Progress
from emolabel.summary import print_summary


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
def test_mistakes_are_one_line_and_status_1(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("path\na.mp4\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["emolabel", *arguments])
    with pytest.raises(SystemExit) as ended:  # in this process: another one would load torch each time
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err


def test_a_mistake_seen_from_outside(tmp_path: Path) -> None:
    got = run("annotate", "gone/*.mp4", "-o", "out", cwd=tmp_path)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr == "emolabel: no inputs found in gone/*.mp4\n"


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
def test_first_run_second_run_dry_run_and_strict(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("two_faces.mp4", "no_sound.mp4", "broken.mp4"):
        shutil.copy(clips / name, tmp_path / "clips")
    dry = run("annotate", "clips", "-o", "out", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "3 inputs: 0 done already, 3 to do" in dry.stdout
    assert "1 of the probed ones cannot be read" in dry.stdout
    assert "one window takes about" in dry.stdout
    assert not (tmp_path / "out").exists()

    first = run("annotate", "clips", "-o", "out", "--strict", cwd=tmp_path)
    assert first.returncode == 3, first.stderr  # broken.mp4
    assert first.stderr == ""
    assert "moov" in first.stdout
    assert "UNTRAINED" not in first.stdout
    assert "labels: " in first.stdout

    second = run("annotate", "clips", "-o", "out", "--strict", cwd=tmp_path)
    assert second.returncode == 3  # what failed before has still failed
    assert "3 inputs were finished by earlier runs and left as they are (1 of them failed)" in second.stdout
    assert "nothing left to do" in second.stdout


def test_a_run_with_random_weights_says_so() -> None:
    for model, warned in (("untrained-mine", True), ("emolabel-1", False)):
        progress = Progress(out="out", model=model, run_id="r", n_inputs=1, n_finished=1)
        with Console(width=200, record=True, file=io.StringIO()) as console:
            print_summary(console, progress)
        assert ("THE MODEL IS UNTRAINED" in console.export_text()) == warned
