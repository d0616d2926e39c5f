"""FER-2013 as it is packed: pixels in a CSV, or image folders in a tar archive; to image files in a folder."""

import io
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from training.datasets.files import read_table
from training.datasets.manifest import SPLITS

CSV_NAMES: Final = ("fer2013.csv", "icml_face_data.csv")
"""The second is the same table with another order of columns."""

EMOTION_CODES: Final[Mapping[str, str]] = {str(code): emotion for code, emotion in enumerate(EMOTIONS)}
"""0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral.

https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge/data
"""

SPLIT_PREFIXES: Final[Mapping[str, str]] = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
"""The column `Usage`, and how names of images start."""

IMAGES: Final = (".jpg", ".jpeg", ".png")
_SIDE_PX: Final = 48


def unpack(source: Path, folder: Path) -> None:
    """Unpack a CSV or a tar archive to `SPLIT/LABEL/NAME` in a folder, which is there whole or not at all.

    A CSV (`emotion`, `pixels`, `Usage`) becomes `USAGE_ROW.png`. Of an archive nothing but the images in
    `.../SPLIT/LABEL` is written, and nothing outside the folder.

    Args:
        source: ends in .csv, or is an archive.
        folder: new, or empty.

    Raises:
        TrainingError: another table; a row with other pixels than 48x48 of 0-255, unknown emotion or usage; no tar
            archive, or a damaged one; an image in another folder; a folder that cannot be written.
    """
    images = _csv_images(source) if source.suffix.lower() == ".csv" else _archive_images(source)
    aside = folder.with_name(f"{folder.name}.part")
    try:
        if aside.exists():
            shutil.rmtree(aside)
        for split, label in product(SPLITS, EMOTIONS):
            (aside / split / label).mkdir(parents=True)
        for split, label, name, content in images:
            (aside / split / label / name).write_bytes(content)
        aside.rename(folder)
    except OSError as error:
        raise TrainingError(f"cannot unpack to {folder}: {error}") from error


def _csv_images(table: Path) -> Iterator[tuple[str, str, str, bytes]]:
    for row, (line, cells) in enumerate(read_table(table, ("emotion", "pixels", "Usage"))):
        emotion, usage = cells["emotion"].strip(), cells["Usage"].strip()
        if emotion not in EMOTION_CODES:
            raise TrainingError(f"{table}, line {line}: unknown emotion {emotion!r}, not one of 0-6")
        if usage not in SPLIT_PREFIXES:
            known = ", ".join(SPLIT_PREFIXES)
            raise TrainingError(f"{table}, line {line}: unknown usage {usage!r}, not one of {known}")
        try:
            grey = bytes(map(int, cells["pixels"].split()))
        except ValueError as error:
            raise TrainingError(f"{table}, line {line}: pixels are grey values of 0-255: {error}") from None
        if len(grey) != _SIDE_PX**2:
            raise TrainingError(f"{table}, line {line}: {len(grey)} pixels, not {_SIDE_PX}x{_SIDE_PX}")
        png = io.BytesIO()
        Image.frombytes("L", (_SIDE_PX, _SIDE_PX), grey).save(png, "png")
        yield SPLIT_PREFIXES[usage], EMOTION_CODES[emotion], f"{usage}_{row:05d}.png", png.getvalue()


def _archive_images(archive: Path) -> Iterator[tuple[str, str, str, bytes]]:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                at = PurePosixPath(member.name)
                if not member.isfile() or at.suffix.lower() not in IMAGES or at.name.startswith("."):
                    continue
                split, label = at.parent.parent.name, at.parent.name
                if split not in SPLITS or label not in EMOTIONS:
                    raise TrainingError(f"{archive} holds {member.name}, which is not in a folder SPLIT/LABEL")
                stream = tar.extractfile(member)
                assert stream is not None, "a regular file has content"
                yield split, label, at.name, stream.read()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise TrainingError(f"cannot read the archive {archive}: {error}") from error
