"""RAVDESS: 24 actors speak (and sing) two sentences in eight emotions; as sound, as video, and as both."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from emolabel.errors import TrainingError
from training.datasets.listing import AUDIO, VIDEO, check_listed, speech_files
from training.datasets.manifest import DataSet, Dropped, Sample

EMOTION_CODES: Final[Mapping[str, str]] = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
"""Third number of a file name. Livingstone & Russo, PLoS ONE 13(5), 2018; https://zenodo.org/records/1188976"""

LABELS: Final[Mapping[str, str]] = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}
"""All but calm, a second neutral that none of the seven stands for."""

Modality = Literal["audio-video", "video", "audio"]
MODALITIES: Final[Mapping[str, Modality]] = {"01": "audio-video", "02": "video", "03": "audio"}
CHANNELS: Final[Mapping[str, str]] = {"01": "speech", "02": "song"}

_NAME: Final = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
_FORM: Final = "RAVDESS files such as Actor_01/03-01-05-01-02-01-01.wav"


@dataclass(frozen=True)
class Take:
    """A file name: seven numbers of two digits."""

    modality: str
    channel: str
    emotion: str
    intensity: str
    statement: str
    repetition: str
    actor: str

    def __str__(self) -> str:
        numbers = (self.modality, self.channel, self.emotion, self.intensity, self.statement, self.repetition)
        return "-".join((*numbers, self.actor))

    @classmethod
    def parse(cls, stem: str) -> "Take":
        """Read a file name without its suffix.

        Raises:
            TrainingError: it is none of RAVDESS.

        >>> Take.parse("03-01-06-01-02-01-12").actor
        '12'
        """
        match = _NAME.fullmatch(stem)
        if match is None:
            raise TrainingError(f"{stem!r} is no name of RAVDESS such as 03-01-05-01-02-01-12")
        return cls(*match.groups())


def read_ravdess(
    root: Path, modality: Modality | None = None, song: bool = False, calm_as_neutral: bool = False
) -> DataSet:
    """Files named as in the distribution, in `Actor_NN` folders at any depth; or those in a `labels.csv`.

    The subject is the actor. There are no splits.

    Args:
        root: the folder above the actors, or above `Video_Speech_Actor_NN` and so on.
        modality: which form of each take; needed where the folder holds more than one, as they are the same takes.
        song: also the takes that are sung.
        calm_as_neutral: count calm as neutral instead of dropping it.

    Raises:
        TrainingError: no such files, a file of another name, one under another actor, or several modalities.
    """
    takes = [(path, _take(path, listed)) for path, listed in speech_files(root, (*AUDIO, *VIDEO), _FORM)]
    present = sorted({MODALITIES[take.modality] for _, take in takes})
    if modality is None and len(present) > 1:
        raise TrainingError(f"{root} holds the same takes as {' and '.join(present)}: choose one with --modality")
    if modality is not None and modality not in present:
        raise TrainingError(f"{root} holds no {modality} files, but {' and '.join(present)}")
    samples, dropped = [], []
    labels = {**LABELS, "calm": "neutral"} if calm_as_neutral else LABELS
    for path, take in takes:
        emotion = EMOTION_CODES[take.emotion]
        if modality is not None and MODALITIES[take.modality] != modality:
            dropped.append(Dropped(str(path), "", f"the same take as {MODALITIES[take.modality]}"))
        elif CHANNELS[take.channel] == "song" and not song:
            dropped.append(Dropped(str(path), "", "song"))
        elif emotion not in labels:
            dropped.append(Dropped(str(path), "", f"label: {emotion}"))
        else:
            samples.append(Sample(str(path), labels[emotion], f"ravdess-{take.actor}", dataset="ravdess"))
    return DataSet("ravdess", tuple(samples), tuple(dropped))


def _take(path: Path, listed: str | None) -> Take:
    try:
        take = Take.parse(path.stem)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None
    check_listed(path, EMOTION_CODES[take.emotion], listed)
    folder = path.parent.name
    if folder.startswith("Actor_") and folder != f"Actor_{take.actor}":
        raise TrainingError(f"{path}: the name says actor {take.actor}, the folder {folder}")
    return take
