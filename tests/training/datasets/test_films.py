"""AFEW and eNTERFACE'05 in the form in which they are handed out, with small real clips."""

from collections import Counter
from pathlib import Path

import pytest

from emolabel.errors import TrainingError
from tests.training.datasets.conftest import Make
from training.datasets.afew import LABELS, read_afew
from training.datasets.enterface05 import read_enterface05

AFEW_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


@pytest.fixture(params=[("Train", "Val", "Test"), ("Train_AFEW", "Val_AFEW", "Test_AFEW")], ids=str)
def afew(request: pytest.FixtureRequest, tmp_path: Path, make: Make) -> Path:
    """One clip for each class and split, features beside them, and two test clips without labels."""
    train, validation, test = request.param
    for number, name in enumerate(AFEW_CLASSES):
        make(f"{train}/{name}/00{number}046280.avi")
        make(f"{validation}/{name}/01{number}046280.avi")
    (tmp_path / train / "AlignedFaces_LBPTOP_Points" / "Faces" / "000046280").mkdir(parents=True)
    (tmp_path / train / "AlignedFaces_LBPTOP_Points" / "Faces" / "000046280" / "0.jpg").write_bytes(b"")
    make(f"{test}/020046280.avi")
    make(f"{test}/clips/021046280.avi")
    return tmp_path


def test_afew(afew: Path) -> None:
    dataset = read_afew(afew)
    found = {(sample.split, Path(sample.uri).parent.name, sample.label) for sample in dataset.samples}
    assert found == {(split, name, LABELS[name]) for split in ("train", "validation") for name in AFEW_CLASSES}
    assert len(dataset.samples) == 14
    assert {sample.subject for sample in dataset.samples} == {""}  # 000046280 names a film, not who is seen
    assert Counter((gone.split, gone.reason) for gone in dataset.dropped) == {("test", "test clip without a label"): 2}


def test_afew_with_subjects(afew: Path, tmp_path: Path) -> None:
    table = tmp_path / "subjects.csv"
    table.write_text("clip,subject,age\n000046280,Jane,30\nTrain/Disgust/001046280.avi,Joe,40\n020046280,Jane,30\n")
    subjects = {Path(sample.uri).stem: sample.subject for sample in read_afew(afew, table).samples}
    assert subjects.pop("000046280") == "afew-Jane"
    assert subjects.pop("001046280") == "afew-Joe"
    assert set(subjects.values()) == {""}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("clip,subject\n000046280,Jane\n000046280.avi,Joe\n", "line 3: clip 000046280 has two subjects"),
        ("clip,subject\n999999999,Jane\n", "names 1 clips that are not there: 999999999"),
        ("clip,actor\n000046280,Jane\n", "has no column subject; it has: clip, actor"),
    ],
)
def test_a_wrong_table_of_subjects_is_refused(afew: Path, tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "subjects.csv"
    path.write_text(table)
    with pytest.raises(TrainingError, match=message):
        read_afew(afew, path)


def test_afew_refuses_what_does_not_fit(tmp_path: Path, make: Make) -> None:
    with pytest.raises(TrainingError, match="is not there"):
        read_afew(tmp_path / "absent")
    with pytest.raises(TrainingError, match=r"no clips of AFEW in .*: expected folders such as Train/Angry"):
        read_afew(tmp_path)
    make("Train/Angry/000046280.avi")
    with pytest.raises(TrainingError, match="no clips of AFEW"):  # the folder below is not the folder above
        read_afew(tmp_path / "Train")
    assert len(read_afew(tmp_path).samples) == 1
    stray = make("Train/Contempt/000046281.avi")
    with pytest.raises(TrainingError, match=r"1 clips under none of the classes Angry, .*Contempt/000046281"):
        read_afew(tmp_path)
    stray.rename(tmp_path / "Train" / "000046281.avi")
    with pytest.raises(TrainingError, match=r"Train/000046281\.avi"):
        read_afew(tmp_path)


def test_enterface05(tmp_path: Path, make: Make) -> None:
    """The folders say what is true: names slip, and one subject's files carry another's number."""
    for name in (
        "subject 1/anger/sentence 1/s1_an_1.avi",
        "subject 3/happiness/sentence 1/s_3_ha_1.avi",
        "subject 11/fear/sentence 5/s12_fe_5.avi",
        "subject 12/fear/sentence 5/s12_fe_5.avi",
        "subject 16/surprise/sentence 3/s16_su_3avi.avi",
        "subject 6/sadness/s6_sa.avi",
    ):
        make(name)
    (tmp_path / "subject 1" / "anger" / "sentence 1" / "Thumbs.db").write_bytes(b"x")
    dataset = read_enterface05(tmp_path)
    assert sorted((sample.subject, sample.label) for sample in dataset.samples) == [
        ("enterface05-01", "angry"),
        ("enterface05-03", "happy"),
        ("enterface05-11", "fear"),
        ("enterface05-12", "fear"),
        ("enterface05-16", "surprise"),
    ]
    assert [(Path(gone.uri).name, gone.reason) for gone in dataset.dropped] == [
        ("s6_sa.avi", "a whole session, not cut into sentences")
    ]


def test_enterface05_refuses_what_does_not_fit(tmp_path: Path, make: Make) -> None:
    with pytest.raises(TrainingError, match=r"no subjects in .*: expected folders such as 'subject 1/anger"):
        read_enterface05(tmp_path)
    (tmp_path / "subject 1" / "anger" / "sentence 1").mkdir(parents=True)
    with pytest.raises(TrainingError, match="no clips under the 1 subjects"):
        read_enterface05(tmp_path)
    make("subject 1/neutral/sentence 1/s1_ne_1.avi")
    with pytest.raises(TrainingError, match="unknown emotion 'neutral'; eNTERFACE'05 has: anger, disgust"):
        read_enterface05(tmp_path)
