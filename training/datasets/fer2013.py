"""FER-2013: 35,887 grey faces of 48x48 pixels, from a web search; as the CSV of its contest, or as image folders."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from training.datasets.duplicates import Drops, Picture, look, reasons_to_drop
from training.datasets.fer2013_unpack import CSV_NAMES, IMAGES, SPLIT_PREFIXES
from training.datasets.fer2013_unpack import unpack as unpack_to
from training.datasets.files import files_below, files_in, folder_of, folders_in, some
from training.datasets.manifest import DataSet, Dropped, Sample

LABELS: Final[Mapping[str, str]] = {emotion: emotion for emotion in EMOTIONS}
"""Names of folders are ours already. Goodfellow et al., ICONIP 2013, https://arxiv.org/abs/1307.0414"""

SPLIT_FOLDERS: Final[Mapping[str, str]] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "publictest": "validation",
    "test": "test",
    "privatetest": "test",
}
"""In lower case. PublicTest is the contest's validation split, PrivateTest its test split."""

_ARCHIVES: Final = (".tar", ".xz", ".gz", ".tgz", ".bz2")
_FORM: Final = f"folders such as train/angry with images, {' or '.join(CSV_NAMES)}, or a tar archive of the folders"


def read_fer2013(root: Path, unpack: Path | None = None, drops: Drops | None = None) -> DataSet:
    """Image folders `SPLIT/CLASS`, or the CSV, or a tar archive of the folders. There are no subjects.

    As distributed: 28,709 pictures to train, 3,589 to validate (PublicTest), 3,589 to test (PrivateTest).
    An image whose name starts with Training_, PublicTest_ or PrivateTest_ belongs there, whatever its folder: a
    well-known copy has both tests in one folder. Some pictures are blank, some are there more than once, in several
    splits too, and some of these with several labels: `drops` leaves them out.

    Args:
        root: the folder, or the CSV or archive itself.
        unpack: where the pictures of a CSV (as PNG) or of an archive go; needed for these. A folder that holds pictures
            already is taken as it is.
        drops: what to leave out, found from the pixels; nothing by default.

    Raises:
        TrainingError: none of these forms, no `unpack` where it is needed, damaged pictures, unknown labels.
    """
    pictures = _pictures(root, unpack)
    if not pictures:
        raise TrainingError(f"no pictures of FER-2013 in {root}: expected {_FORM}")
    wanted = drops or Drops()
    reasons: list[str | None] = [None] * len(pictures)
    if wanted.any:
        reasons = reasons_to_drop(pictures, [look(picture.path) for picture in pictures], wanted)
    samples, dropped = [], []
    for picture, reason in zip(pictures, reasons, strict=True):
        if reason is None:
            samples.append(Sample(str(picture.path), picture.label, split=picture.split, dataset="fer2013"))
        else:
            dropped.append(Dropped(str(picture.path), picture.split, reason))
    return DataSet("fer2013", tuple(samples), tuple(dropped))


def _pictures(root: Path, unpack: Path | None) -> list[Picture]:
    source = root if root.is_file() else _packed_in(folder_of(root))
    if source is None:
        folder = folder_of(root)
        return _in_folders(
            folder if _split_folders(folder) or not (folder / "fer2013").is_dir() else folder / "fer2013"
        )
    if unpack is None:
        raise TrainingError(f"{source} has to be unpacked: say where to with --unpack FOLDER")
    folder = Path(os.path.abspath(unpack))
    if not _split_folders(folder):
        unpack_to(source, folder)
    return _in_folders(folder)


def _packed_in(folder: Path) -> Path | None:
    """The CSV or archive in a folder without image folders."""
    if _split_folders(folder) or _split_folders(folder / "fer2013"):
        return None
    tables = [folder / name for name in CSV_NAMES if (folder / name).is_file()]
    packed = tables[:1] or files_in(folder, _ARCHIVES)
    if len(packed) > 1:
        raise TrainingError(f"{folder} holds several archives, name one of them: {some(path.name for path in packed)}")
    return packed[0] if packed else None


def _split_folders(folder: Path) -> list[Path]:
    return [path for path in folders_in(folder) if path.name.lower() in SPLIT_FOLDERS] if folder.is_dir() else []


def _in_folders(folder: Path) -> list[Picture]:
    pictures: list[Picture] = []
    for split in _split_folders(folder):
        for inner in folders_in(split):
            images = files_below(inner, IMAGES)
            label = LABELS.get(inner.name.lower())
            if images and label is None:
                raise TrainingError(f"{inner}: unknown label {inner.name!r}; FER-2013 has: {', '.join(LABELS)}")
            if label is not None:
                by_folder = SPLIT_FOLDERS[split.name.lower()]
                pictures += [Picture(image, label, _split_of(image.name, by_folder)) for image in images]
    return sorted(pictures, key=lambda picture: picture.path)


def _split_of(name: str, by_folder: str) -> str:
    return SPLIT_PREFIXES.get(name.partition("_")[0], by_folder)
