"""AFEW, Acted Facial Expressions in the Wild, as handed out for the EmotiW challenges: clips of films."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from training.datasets.files import files_below, files_in, folder_of, folders_in, read_table, some
from training.datasets.manifest import DataSet, Dropped, Sample

LABELS: Final[Mapping[str, str]] = {
    "Angry": "angry",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happy": "happy",
    "Neutral": "neutral",
    "Sad": "sad",
    "Surprise": "surprise",
}
"""Names of folders. Dhall et al., IEEE MultiMedia 19(3), 2012, and ICMI 2017 (EmotiW 2017)."""

SPLIT_FOLDERS: Final[Mapping[str, str]] = {
    "Train": "train",
    "Train_AFEW": "train",
    "Val": "validation",
    "Val_AFEW": "validation",
    "Test": "test",
    "Test_AFEW": "test",
}

_CLIPS: Final = (".avi", ".mp4")
_FORM: Final = "folders such as Train/Angry and Val/Angry (or Train_AFEW, Val_AFEW) with .avi files"


def read_afew(root: Path, subjects: Path | None = None) -> DataSet:
    """Clips in `Train/CLASS` and `Val/CLASS`. Other folders (aligned faces, LBP-TOP features) are left alone.

    Without `subjects` nobody is known. The number that names a clip (000046280) tells the film and the time and not
    who is seen: a film has several actors, and an actor several films, so that folds by film are not folds by subject.
    Test clips were handed out without labels; they are counted as dropped.

    Args:
        root: the folder above `Train` and `Val`.
        subjects: a CSV with the columns `clip` (000046280, with or without folders and suffix) and `subject`.

    Raises:
        TrainingError: no such folders, clips under an unknown class or under none, or a table of subjects with clips
            that are not there or that have two subjects.
    """
    splits = [(path, SPLIT_FOLDERS[path.name]) for path in folders_in(folder_of(root)) if path.name in SPLIT_FOLDERS]
    clips: list[tuple[Path, str, str]] = []
    dropped: list[Dropped] = []
    for folder, split in splits:
        for name, label in LABELS.items():
            if (folder / name).is_dir():
                clips += [(clip, label, split) for clip in files_in(folder / name, _CLIPS)]
        unlabelled = _unlabelled(folder)
        if unlabelled and split != "test":
            raise TrainingError(
                f"{len(unlabelled)} clips under none of the classes {', '.join(LABELS)}: {some(unlabelled)}"
            )
        dropped += [Dropped(str(clip), split, "test clip without a label") for clip in unlabelled]
    if not clips:
        raise TrainingError(f"no clips of AFEW in {root}: expected {_FORM}")
    known = {clip.stem for clip, _, _ in clips} | {Path(clip.uri).stem for clip in dropped}
    names = {} if subjects is None else _subjects(subjects, known)
    samples = tuple(
        Sample(str(clip), label, names.get(clip.stem, ""), split, dataset="afew") for clip, label, split in clips
    )
    return DataSet("afew", samples, tuple(dropped))


def _unlabelled(split: Path) -> list[Path]:
    """Clips beside the classes, and in folders that are none."""
    others = [clip for folder in folders_in(split) if folder.name not in LABELS for clip in files_below(folder, _CLIPS)]
    return files_in(split, _CLIPS) + others


def _subjects(table: Path, clips: set[str]) -> dict[str, str]:
    subjects: dict[str, str] = {}
    for line, row in read_table(table, ("clip", "subject")):
        clip, subject = Path(row["clip"].strip()).stem, row["subject"].strip()
        if subject and subjects.setdefault(clip, f"afew-{subject}") != f"afew-{subject}":
            raise TrainingError(f"{table}, line {line}: clip {clip} has two subjects")
    unknown = sorted(set(subjects) - clips)
    if unknown:
        raise TrainingError(f"{table} names {len(unknown)} clips that are not there: {some(unknown)}")
    return subjects
