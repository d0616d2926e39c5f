"""CREMA-D: 91 actors speak twelve sentences in six emotions, as sound and as video."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from training.datasets.files import files_below, folder_of, reading, some
from training.datasets.listing import AUDIO, VIDEO
from training.datasets.manifest import DataSet, Dropped, Sample

LABELS: Final[Mapping[str, str]] = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
"""Third part of a file name: what the actor meant, not what raters saw. There is no surprise.

Cao et al., IEEE Transactions on Affective Computing 5(4), 2014; https://github.com/CheyneyComputerScience/CREMA-D
"""

FAULTY: Final = ("1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX")
"""Known to be no recordings of what they say: empty, or of every emotion in a row."""

_NAME: Final = re.compile(rf"(\d{{4}})_([A-Z]{{3}})_({'|'.join(LABELS)})_(LO|MD|HI|XX|X)")
_FORM: Final = "CREMA-D files such as AudioWAV/1001_DFA_ANG_XX.wav or VideoFlash/1001_DFA_ANG_XX.flv"
_POINTER: Final = b"version https://git-lfs"


@dataclass(frozen=True)
class Clip:
    """A file name."""

    actor: str
    """Four digits: 1001 to 1091."""
    sentence: str
    """Three letters."""
    emotion: str
    """A key of `LABELS`."""
    level: str
    """LO, MD, HI, or XX (not told); one file has X."""

    def __str__(self) -> str:
        return f"{self.actor}_{self.sentence}_{self.emotion}_{self.level}"

    @classmethod
    def parse(cls, stem: str) -> "Clip":
        """Read a file name without its suffix.

        Raises:
            TrainingError: it is none of CREMA-D.

        >>> Clip.parse("1001_DFA_ANG_XX").emotion
        'ANG'
        """
        match = _NAME.fullmatch(stem)
        if match is None:
            raise TrainingError(f"{stem!r} is no name of CREMA-D such as 1001_DFA_ANG_XX")
        return cls(*match.groups())


def read_cremad(root: Path, suffix: str | None = None) -> DataSet:
    """Files named as in the distribution, at any depth. The subject is the actor. There are no splits.

    Args:
        root: the folder above `AudioWAV` and `VideoFlash`, or one of these.
        suffix: wav, mp3, flv...; needed where the folder holds more than one, as they are the same clips.

    Raises:
        TrainingError: no such files, a file of another name, several forms, or pointers of git-lfs in place of media.
    """
    wanted = (*AUDIO, *VIDEO) if suffix is None else (f".{suffix.lower().removeprefix('.')}",)
    paths = files_below(folder_of(root), wanted)
    if not paths:
        raise TrainingError(f"nothing found in {root}: expected {_FORM}")
    present = sorted({path.suffix.lower().removeprefix(".") for path in paths})
    if len(present) > 1:
        raise TrainingError(f"{root} holds the same clips as {' and '.join(present)}: choose one with --suffix")
    pointers = [path for path in paths if _is_pointer(path)]
    if pointers:
        raise TrainingError(
            f"{len(pointers)} files are pointers of git-lfs, not media (`git lfs pull` gets them): {some(pointers)}"
        )
    samples, dropped = [], []
    for path in paths:
        try:
            clip = Clip.parse(path.stem)
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from None
        if path.stem in FAULTY:
            dropped.append(Dropped(str(path), "", "known to be faulty"))
        else:
            samples.append(Sample(str(path), LABELS[clip.emotion], f"cremad-{clip.actor}", dataset="cremad"))
    return DataSet("cremad", tuple(samples), tuple(dropped))


def _is_pointer(path: Path) -> bool:
    with reading(path), path.open("rb") as stream:
        return stream.read(len(_POINTER)) == _POINTER
