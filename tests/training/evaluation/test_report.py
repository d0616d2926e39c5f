"""An evaluation from the command line: the figures, the files, and what people read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as reference

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from tests.training.evaluation.label_files import Row, sure_of, write_output, write_rows, write_truth
from training.evaluation.labels import FUSED, SCORES
from training.evaluation.matching import UNMATCHED_COLUMNS, Clips
from training.evaluation.report import Evaluation, evaluate, write_report
from training.evaluation.scoring import ALL, score_clips
from training.evaluation.summary import to_markdown

ROOT = Path(__file__).resolve().parents[3]


def run_job(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "evaluate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def value(table: pd.DataFrame, metric: str, modality: str = FUSED, group: str = ALL) -> tuple[float, int]:
    """A figure and what it was taken over."""
    rows = table[(table["metric"] == metric) & (table["modality"] == modality) & (table["group"] == group)]
    assert len(rows) == 1, (metric, modality, group)
    return float(rows["value"].iloc[0]), int(rows["n"].iloc[0])


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Five clips of two folds and three emotions; the face branch lacks one."""
    said = [  # truth, fold, fused, face, audio
        ("happy", 0, "happy", "happy", "sad"),
        ("happy", 0, "happy", "sad", "happy"),
        ("sad", 0, "sad", "sad", "happy"),
        ("sad", 1, "happy", None, "happy"),
        ("fear", 1, "fear", "fear", "angry"),
    ]
    rows = [
        Row(f"/v/{i}.mp4", fused, face, None, audio, riding={"label": truth, "fold": fold, "dataset": "afew"})
        for i, (truth, fold, fused, face, audio) in enumerate(said)
    ]
    write_rows(tmp_path / "run" / "predictions.parquet", rows)
    single = {"modality": ["face", "face", "audio"], "n": [60, 40, 50], "correct": [30, 10, 10]}
    pq.write_table(pa.table(single), tmp_path / "run" / "single.parquet")
    return tmp_path / "run"


def test_figures_by_hand_from_the_command_line(predictions: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = run_job(predictions, "-o", out)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(out / "metrics.parquet")
    assert list(table.columns) == ["group", "modality", "metric", "value", "n"]
    assert value(table, "accuracy") == (0.8, 5)
    assert value(table, "uar") == (pytest.approx((1 + 1 / 2 + 1) / 3), 5)
    assert value(table, "accuracy", "face") == (0.75, 4)
    assert value(table, "accuracy_unscored_wrong", "face") == (pytest.approx(3 / 5), 5)
    assert value(table, "unscored", "face") == (1, 5)
    assert value(table, "accuracy", "audio") == (pytest.approx(1 / 5), 5)
    assert value(table, "single_accuracy", "face") == (0.4, 100)
    assert value(table, "single_accuracy", "audio") == (0.2, 50)
    # All are sure to 0.7, and four of five are right.
    assert value(table, "ece")[0] == pytest.approx(0.1, abs=1e-6)
    assert value(table, "accuracy", group="fold=0") == (1.0, 3)
    assert value(table, "accuracy", group="fold=1") == (0.5, 2)
    assert value(table, "accuracy_mean", group="folds") == (0.75, 2)
    assert value(table, "accuracy_std", group="folds") == (pytest.approx(0.125**0.5), 2)
    # There is one data set: its figures are those of all.
    assert not table["group"].str.startswith("dataset").any()

    confusion = pd.read_parquet(out / "confusion.parquet")
    assert len(confusion) == 3 * 49
    cells = confusion[(confusion["modality"] == FUSED) & (confusion["n"] > 0)]
    assert cells[["truth", "predicted", "n", "share"]].to_numpy().tolist() == [
        ["fear", "fear", 1, 1.0],
        ["happy", "happy", 2, 1.0],
        ["sad", "happy", 1, 0.5],
        ["sad", "sad", 1, 0.5],
    ]
    classes = pd.read_parquet(out / "per_class.parquet").set_index(["modality", "label"])
    assert classes.loc[(FUSED, "happy"), "precision"] == pytest.approx(2 / 3)
    assert classes.loc[(FUSED, "happy"), "f1"] == pytest.approx(0.8)
    bins = pd.read_parquet(out / "reliability.parquet")
    assert bins.groupby("modality")["n"].sum().to_dict() == {"fused": 5, "face": 4, "audio": 5}
    assert len(pd.read_parquet(out / "unmatched.parquet")) == 0


def test_the_summary_is_the_same_on_the_terminal_and_in_markdown(predictions: Path, tmp_path: Path) -> None:
    done = run_job(predictions, "-o", tmp_path / "report")
    lines = (tmp_path / "report" / "summary.md").read_text().splitlines()
    assert "| face | 40.00 | 75.00 | 83.33 | 77.78 | 4 | 60.00 |" in lines
    assert "| mean |  | 75.00 | 75.00 | 83.33 | 87.50 | 16.67 | 12.50 |" in lines
    shown = " ".join(done.stdout.split())
    for line in lines:
        if line.startswith("| ") and "---" not in line:
            assert " ".join(line.replace("|", " ").split()) in shown


def test_pictures_are_pictures(predictions: Path, tmp_path: Path) -> None:
    write_report(evaluate([str(predictions)], None), tmp_path)
    for name in ("confusion.png", "reliability.png"):
        with Image.open(tmp_path / name) as image:
            picture = np.array(image.convert("RGB"))
        assert min(picture.shape[:2]) > 500
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_a_report_replaces_the_one_before(predictions: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    for by in (["fold"], ["dataset"]):
        write_report(evaluate([str(predictions)], None, by=by), out)
    groups = set(pd.read_parquet(out / "metrics.parquet")["group"])
    assert groups == {ALL, "dataset=afew"}
    assert len(list(out.iterdir())) == 8


def test_labels_and_a_manifest(tmp_path: Path) -> None:
    rows = [
        Row("/v/a.mp4", "happy", window=0),
        Row("/v/a.mp4", ("sad", 0.9), window=1),
        Row("/v/b.mp4", "sad"),
        Row("/v/stranger.mp4", "sad"),
    ]
    failed = {"video_id": "c", "input": "/v/c|c.mp4", "status": "unreadable", "error": "[not] a | media file"}
    truth = [
        {"uri": "/v/a.mp4", "label": "sad", "dataset": "x"},
        {"uri": "/v/b.mp4", "label": "fear", "dataset": "y"},
        {"uri": "/v/c|c.mp4", "label": "fear", "dataset": "y"},
    ]
    out = tmp_path / "report"
    manifest = write_truth(tmp_path / "t.csv", truth)
    done = run_job(write_output(tmp_path / "labels", rows, [failed]), "--truth", manifest, "-o", out)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(out / "metrics.parquet")
    assert value(table, "accuracy") == (0.5, 2)
    assert value(table, "accuracy", group="dataset=x") == (1.0, 1)
    assert value(table, "unscored", group="dataset=y") == (1, 2)
    assert value(table, "unscored") == (1, 3)
    assert "3 clips have a truth. 2 of them have scores, 1 have none" in done.stdout
    assert "[not] a | media file" in done.stdout
    unmatched = pd.read_parquet(out / "unmatched.parquet")
    assert list(unmatched.columns) == list(UNMATCHED_COLUMNS)
    assert unmatched[["kind", "input", "label"]].fillna("-").to_numpy().tolist() == [
        ["no scores", "/v/c|c.mp4", "fear"],
        ["no truth", "/v/stranger.mp4", "-"],
    ]
    assert r"| /v/c\|c.mp4 | no scores | unreadable | [not] a \| media file |" in (out / "summary.md").read_text()


def test_single_frames_are_left_out_where_other_clips_are_compared(predictions: Path, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "t.csv", [{"uri": "/v/0.mp4", "label": "happy"}])
    found = evaluate([str(predictions)], str(truth))
    assert found.scores.value("single_accuracy", "face") is None
    assert "| face | – | 100.00 |" in to_markdown(found.sections)


@pytest.mark.parametrize("by", ["subject", "split"])
def test_a_breakdown_by_what_nobody_knows(predictions: Path, by: str) -> None:
    with pytest.raises(TrainingError, match=f"nothing says of which {by} the clips are; known: fold, dataset"):
        evaluate([str(predictions)], None, by=[by])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "no labels at"),
        (["run", "--truth", "absent.csv"], "cannot read the manifest"),
        (["run", "--truth", "bad.csv"], "has no column 'uri'"),
        (["run", "--truth", "other.csv"], "labels and truth have no clip in common"),
        (["run/single.parquet"], "has no column video_id"),
        (["bad.csv"], "cannot read"),
        (["run", "-o", "bad.csv"], "cannot write"),
    ],
)
def test_mistakes_are_one_line(predictions: Path, arguments: list[str], message: str) -> None:
    folder = predictions.parent
    (folder / "bad.csv").write_text("file,label\na,happy\n")
    (folder / "other.csv").write_text("uri,label\nelsewhere/x.mp4,happy\n")
    paths = [text if text.startswith("-") else str(folder / text) for text in arguments]
    done = run_job(*paths, *(() if "-o" in paths else ("-o", folder / "report")))
    assert done.returncode == 1
    assert done.stderr.startswith("emolabel: ")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (folder / "report").exists()


def clips_of(truth: list[int], probabilities: list[list[float]]) -> Clips:
    values = np.array(probabilities)
    return Clips(
        truth=np.array(truth, dtype=np.int64),
        scores={FUSED: values / values.sum(axis=1, keepdims=True)},
        groups=pd.DataFrame({"fold": [str(i % 3) for i in range(len(truth))]}),
        unmatched=pd.DataFrame(columns=list(UNMATCHED_COLUMNS)),
        notes=(),
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.lists(st.floats(0.01, 1), min_size=7, max_size=7)), min_size=3, max_size=30
    )
)
def test_groups_add_up_to_all_and_agree_with_scikit_learn(drawn: list[tuple[int, list[float]]]) -> None:
    clips = clips_of([truth for truth, _ in drawn], [row for _, row in drawn])
    single = pd.DataFrame({"modality": [], "n": [], "correct": []})
    scores = score_clips(clips, single, ["fold"])
    predicted = clips.scores[FUSED].argmax(axis=1)
    present = sorted(set(clips.truth.tolist()))
    f1 = reference.f1_score(clips.truth, predicted, labels=present, average="macro", zero_division=0)
    assert scores.value("macro_f1") == pytest.approx(f1)
    folds = scores.groups("fold")
    right = sum((scores.value("accuracy", group=fold) or 0) * scores.n("accuracy", group=fold) for fold in folds)
    assert scores.value("accuracy") == pytest.approx(right / len(clips))
    for group in folds:
        members = (clips.groups["fold"] == group.removeprefix("fold=")).to_numpy()
        recall = reference.recall_score(
            clips.truth[members],
            predicted[members],
            labels=sorted(set(clips.truth[members].tolist())),
            average="macro",
            zero_division=0,
        )
        assert scores.value("uar", group=group) == pytest.approx(recall)


def test_scores_are_those_of_the_schema() -> None:
    from emolabel import schema

    assert list(SCORES) == ["fused", "face", "motion", "audio"]
    assert {name for names in SCORES.values() for name in names} <= set(schema.LABELS.names)


def test_more_than_ten_folds_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = [
        Row(f"/v/{i}.mp4", sure_of(EMOTIONS[i % 7]), riding={"label": EMOTIONS[i % 7], "fold": i}) for i in range(12)
    ]
    found: Evaluation = evaluate([str(write_rows(tmp_path / "p.parquet", rows))], None)
    assert found.scores.groups("fold") == [f"fold={i}" for i in range(12)]
