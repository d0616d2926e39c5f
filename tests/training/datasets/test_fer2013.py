"""FER-2013: the real archive against its own table of duplicates, and the CSV form with pictures made by hand."""

import csv
import io
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emolabel.errors import TrainingError
from training.datasets.duplicates import BLANK, CONFLICT, LEAK, REPEAT, Drops, Picture, look, reasons_to_drop
from training.datasets.fer2013 import read_fer2013
from training.datasets.manifest import Sample

LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
COUNTS = {  # the table in the README of the set
    "train": (3995, 436, 4097, 7215, 4965, 4830, 3171),
    "validation": (467, 56, 496, 895, 607, 653, 415),
}
BLANKS = {
    *("Training_10131352", "Training_28756096", "Training_32571770", "Training_52563817", "Training_78540321"),
    *("Training_96772745", "Training_99531165", "Training_87607167", "Training_3542668", "Training_89335926"),
    *("Training_48621797", "Training_48403842", "PublicTest_5543497"),
}
ALL = Drops(True, True, True, True)


def key(path: str | Path) -> str:
    """SPLIT/LABEL/NAME, as in the table of the set."""
    return "/".join(Path(path).parts[-3:])


@pytest.fixture(scope="module")
def groups(shared_fer2013: Path) -> list[list[str]]:
    """Files with equal pixels, as the set's own table has them."""
    by_group: dict[str, list[str]] = defaultdict(list)
    with (shared_fer2013 / "labels.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["duplicate_group"]:
                by_group[row["duplicate_group"]].append(row["file"])
    return [sorted(group) for group in by_group.values()]


@pytest.fixture(scope="module")
def dropped(fer2013: Path) -> dict[str, set[str]]:
    """What goes for each reason, when all are asked for."""
    dataset = read_fer2013(fer2013, drops=ALL)
    assert len(dataset.samples) + len(dataset.dropped) == 28_709 + 3_589
    by_reason: dict[str, set[str]] = defaultdict(set)
    for gone in dataset.dropped:
        by_reason[gone.reason].add(key(gone.uri))
    return by_reason


@pytest.mark.slow
def test_real_counts_are_those_distributed(shared_fer2013: Path, fer2013: Path) -> None:
    samples = read_fer2013(shared_fer2013, unpack=fer2013).samples  # which is unpacked already
    counts = Counter((sample.split, sample.label) for sample in samples)
    assert counts == {
        (split, label): count for split, row in COUNTS.items() for label, count in zip(LABELS, row, strict=True)
    }
    assert Counter(sample.split for sample in samples) == {"train": 28_709, "validation": 3_589}
    assert {sample.subject for sample in samples} == {""}


@pytest.mark.slow
def test_real_drops_agree_with_the_table(dropped: dict[str, set[str]], groups: list[list[str]]) -> None:
    """Each reason worked out from the table's groups, apart from the code."""
    blanks = {file for group in groups for file in group if Path(file).stem in BLANKS}
    assert {Path(file).stem for file in dropped[BLANK]} == BLANKS
    conflicts, leaks, repeats = set(), set(), set()
    for group in groups:
        if len({file.split("/")[1] for file in group}) > 1:
            conflicts |= set(group)
            continue
        train = [file for file in group if file.startswith("train/")]
        validation = [file for file in group if file.startswith("validation/")]
        leaks |= set(validation if train else ())
        repeats |= set(train[1:]) | set(() if train else validation[1:])
    assert dropped[CONFLICT] == conflicts - blanks
    assert dropped[LEAK] == leaks - blanks
    assert dropped[REPEAT] == repeats - blanks
    assert all(len(dropped[reason]) > 100 for reason in (CONFLICT, LEAK, REPEAT))


def grey(value: int) -> np.ndarray:
    """48x48 values: noise of its own for each value."""
    return np.random.default_rng(value).integers(0, 256, (48, 48), np.uint8)


def put(folder: Path, name: str, pixels: np.ndarray) -> Picture:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return Picture(path, path.parent.name, path.parent.parent.name)


@pytest.mark.parametrize(
    ("drops", "expected"),
    [
        (Drops(), {}),
        (Drops(blanks=True), {"train/sad/blank.png": BLANK}),
        (Drops(conflicts=True), {"train/sad/c.png": CONFLICT, "validation/fear/c.png": CONFLICT}),
        (
            Drops(leaks=True),
            {
                "validation/sad/a3.png": LEAK,
                "validation/sad/a4.png": LEAK,
                "validation/fear/c.png": LEAK,
                "test/sad/v.png": LEAK,
            },
        ),
        (Drops(repeats=True), {"train/sad/a2.png": REPEAT, "validation/sad/a4.png": REPEAT}),
    ],
)
def test_each_drop_alone(tmp_path: Path, drops: Drops, expected: dict[str, str]) -> None:
    names = {
        **{f"train/sad/a{number}.png": grey(1) for number in (1, 2)},
        **{f"validation/sad/a{number}.png": grey(1) for number in (3, 4)},
        "train/sad/blank.png": np.full((48, 48), 7, np.uint8),
        "train/sad/c.png": grey(2),
        "validation/fear/c.png": grey(2),
        "validation/sad/v.png": grey(3),
        "test/sad/v.png": grey(3),
        "test/happy/alone.png": grey(4),
    }
    for name, pixels in names.items():
        put(tmp_path, name, pixels)
    dataset = read_fer2013(tmp_path, drops=drops)
    assert {key(gone.uri): gone.reason for gone in dataset.dropped} == expected
    assert {key(sample.uri) for sample in dataset.samples} == set(names) - set(expected)


def test_equal_bytes_of_another_shape_are_no_duplicates(tmp_path: Path) -> None:
    wide = put(tmp_path, "train/sad/wide.png", grey(1)[:24])
    high = put(tmp_path, "train/sad/high.png", grey(1)[:24].reshape(48, 24))
    assert reasons_to_drop([wide, high], [look(wide.path), look(high.path)], ALL) == [None, None]


def write_csv(path: Path, rows: list[tuple[object, str, str]], header: str = "emotion,pixels,Usage") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def text(pixels: np.ndarray) -> str:
    return " ".join(map(str, pixels.ravel()))


def test_the_csv_of_the_contest(tmp_path: Path) -> None:
    rows = [(code, text(grey(code)), "Training") for code in range(7)]
    rows += [(3, text(grey(7)), "PublicTest"), (6, text(grey(8)), "PrivateTest")]
    table = write_csv(tmp_path / "fer2013.csv", rows)
    with pytest.raises(TrainingError, match=r"fer2013\.csv has to be unpacked: say where to with --unpack"):
        read_fer2013(tmp_path)
    samples = read_fer2013(tmp_path, unpack=tmp_path / "images").samples
    by_number = {int(Path(sample.uri).stem.rpartition("_")[2]): sample for sample in samples}
    labels = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "happy", "neutral"]
    splits = ["train"] * 7 + ["validation", "test"]
    found = [(by_number[number].label, by_number[number].split) for number in range(9)]
    assert found == list(zip(labels, splits, strict=True))
    for number, sample in by_number.items():
        with Image.open(sample.uri) as image:
            assert np.array_equal(np.asarray(image), grey(number))
    table.unlink()
    assert read_fer2013(tmp_path / "images").samples == samples


def test_the_other_table_with_blanks_in_its_header(tmp_path: Path) -> None:
    pixels = text(grey(1))
    write_csv(tmp_path / "icml_face_data.csv", [(4, "Training", pixels)], header="emotion, Usage, pixels")
    (sample,) = read_fer2013(tmp_path, unpack=tmp_path / "images").samples
    assert sample == Sample(
        str(tmp_path / "images/train/sad/Training_00000.png"), "sad", "", "train", dataset="fer2013"
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((7, text(grey(1)), "Training"), "line 2: unknown emotion '7', not one of 0-6"),
        (
            (1, text(grey(1)), "Holdout"),
            "line 2: unknown usage 'Holdout', not one of Training, PublicTest, PrivateTest",
        ),
        ((1, "1 2 3", "Training"), "line 2: 3 pixels, not 48x48"),
        ((1, text(grey(1)) + " 7", "Training"), "line 2: 2305 pixels, not 48x48"),
        ((1, text(grey(1)).rpartition(" ")[0] + " 256", "Training"), "line 2: pixels are grey values of 0-255"),
        ((1, text(grey(1)).rpartition(" ")[0] + " x", "Training"), "line 2: pixels are grey values of 0-255"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: tuple[object, str, str], message: str) -> None:
    table = write_csv(tmp_path / "fer2013.csv", [row])
    with pytest.raises(TrainingError, match=message):
        read_fer2013(table, unpack=tmp_path / "images")
    assert not (tmp_path / "images").exists()  # a folder that is there is whole
    write_csv(table, [(1, text(grey(1)), "Training")])
    assert len(read_fer2013(table, unpack=tmp_path / "images").samples) == 1


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "fer2013.csv", [(1, text(grey(1)), "Training")])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(TrainingError, match=r"cannot unpack to .*mine"):
        read_fer2013(table, unpack=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_the_copy_with_both_tests_in_one_folder(tmp_path: Path) -> None:
    """A name that starts with its usage tells the split."""
    for name in (
        "train/sad/Training_1.jpg",
        "test/sad/PublicTest_2.jpg",
        "test/sad/PrivateTest_3.jpg",
        "test/sad/x.jpg",
    ):
        put(tmp_path, name, grey(1))
    splits = {Path(sample.uri).stem: sample.split for sample in read_fer2013(tmp_path).samples}
    assert splits == {"Training_1": "train", "PublicTest_2": "validation", "PrivateTest_3": "test", "x": "test"}


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def test_an_archive_writes_only_into_its_folder(tmp_path: Path) -> None:
    picture = put(tmp_path, "train/sad/a.png", grey(1)).path.read_bytes()
    archive = tmp_path / "set.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        add(tar, "set/train/sad/a.png", picture)
        add(tar, "../../train/happy/b.png", picture)
        add(tar, "set/README.txt", b"x")
        link = tarfile.TarInfo("set/train/sad/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    folder = tmp_path / "inner" / "images"
    samples = read_fer2013(archive, unpack=folder).samples
    assert [(key(sample.uri), sample.label) for sample in samples] == [
        ("train/happy/b.png", "happy"),
        ("train/sad/a.png", "sad"),
    ]
    written = {path.relative_to(tmp_path / "inner") for path in (tmp_path / "inner").rglob("*") if path.is_file()}
    assert written == {Path("images/train/happy/b.png"), Path("images/train/sad/a.png")}


def test_what_is_no_fer2013_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not there"):
        read_fer2013(tmp_path / "absent")
    with pytest.raises(TrainingError, match=r"no pictures of FER-2013 in .*: expected folders such as train/angry"):
        read_fer2013(tmp_path)
    broken = put(tmp_path, "train/sad/a.png", grey(1)).path
    put(tmp_path, "train/contempt/b.png", grey(2))
    with pytest.raises(TrainingError, match="unknown label 'contempt'; FER-2013 has: angry"):
        read_fer2013(tmp_path)
    (tmp_path / "train" / "contempt" / "b.png").unlink()
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"cannot read the picture .*a\.png"):
        read_fer2013(tmp_path, drops=Drops(blanks=True))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "set.tar.xz"
    archive.write_bytes(b"no archive")
    with pytest.raises(TrainingError, match=r"cannot read the archive .*set\.tar\.xz"):
        read_fer2013(tmp_path, unpack=tmp_path / "images")
    with tarfile.open(archive, "w:xz") as tar:
        add(tar, "set/train/contempt/a.png", b"x")
    with pytest.raises(TrainingError, match=r"holds set/train/contempt/a\.png, which is not in a folder SPLIT/LABEL"):
        read_fer2013(archive, unpack=tmp_path / "images")
    (tmp_path / "other.tar").write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"holds several archives, name one of them: other\.tar, set\.tar\.xz"):
        read_fer2013(tmp_path, unpack=tmp_path / "images")
