"""Speech sets whose file names say everything: the files in a folder, or those that its `labels.csv` lists."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from training.datasets.files import files_below, folder_of, read_table, some

LABELS_FILE: Final = "labels.csv"

AUDIO: Final = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
VIDEO: Final = (".mp4", ".avi", ".flv", ".mkv", ".mov", ".webm", ".mpg")


def speech_files(root: Path, suffixes: Collection[str], form: str) -> list[tuple[Path, str | None]]:
    """Files and the emotion that `labels.csv` (columns `file`, `emotion`) gives them; none where there is no such file.

    Args:
        root: the folder of the set; files lie at any depth.
        suffixes: of its files, lower case.
        form: what the folder should hold, for the message.

    Raises:
        TrainingError: no folder, nothing in it, or a file that is listed and not there.
    """
    folder = folder_of(root)
    table = folder / LABELS_FILE
    if not table.is_file():
        found: list[tuple[Path, str | None]] = [(path, None) for path in files_below(folder, suffixes)]
    else:
        found = [(folder / row["file"], row["emotion"]) for _, row in read_table(table, ("file", "emotion"))]
        missing = [path.relative_to(folder) for path, _ in found if not path.is_file()]
        if missing:
            raise TrainingError(f"{table} lists {len(missing)} files that are not there: {some(missing)}")
    if not found:
        raise TrainingError(f"nothing found in {root}: expected {form}")
    return found


def check_listed(path: Path, named: str, listed: str | None) -> None:
    """Compare the emotion in a file's name with the one that is listed.

    Raises:
        TrainingError: they differ.
    """
    if listed is not None and listed != named:
        raise TrainingError(f"{LABELS_FILE} calls {path.name} {listed!r}, its name says {named!r}")
