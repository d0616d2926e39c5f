"""EMO-DB, the Berlin Database of Emotional Speech: ten actors speak ten German sentences in seven emotions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from training.datasets.listing import AUDIO, check_listed, speech_files
from training.datasets.manifest import DataSet, Dropped, Sample

EMOTION_CODES: Final[Mapping[str, str]] = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
"""Sixth letter of a file name, from the German word (Wut, Langeweile, Ekel, Angst, Freude, Trauer).

Burkhardt et al., Interspeech 2005; http://emodb.bilderbar.info/docu/
"""

LABELS: Final[Mapping[str, str]] = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "neutral": "neutral",
}
"""All but boredom, which is none of the seven. There is no surprise."""

_NAME: Final = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])")
_FORM: Final = "EMO-DB files such as wav/03a01Fa.wav"


@dataclass(frozen=True)
class Utterance:
    """A file name."""

    speaker: str
    """Two digits: 03, 08 to 16."""
    text: str
    """a or b, and two digits."""
    emotion: str
    """A key of `EMOTION_CODES`."""
    version: str
    """a, b, c... where there are several."""

    def __str__(self) -> str:
        return f"{self.speaker}{self.text}{self.emotion}{self.version}"

    @classmethod
    def parse(cls, stem: str) -> "Utterance":
        """Read a file name without its suffix.

        Raises:
            TrainingError: it is none of EMO-DB.

        >>> Utterance.parse("03a01Fa")
        Utterance(speaker='03', text='a01', emotion='F', version='a')
        """
        match = _NAME.fullmatch(stem)
        if match is None:
            raise TrainingError(f"{stem!r} is no name of EMO-DB such as 03a01Fa")
        return cls(*match.groups())


def read_emodb(root: Path) -> DataSet:
    """Files named as in the distribution (wav or flac) at any depth, or those in a `labels.csv`.

    The subject is the speaker. There are no splits.

    Raises:
        TrainingError: no such files, or a file of another name.
    """
    samples, dropped = [], []
    for path, listed in speech_files(root, AUDIO, _FORM):
        try:
            utterance = Utterance.parse(path.stem)
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from None
        emotion = EMOTION_CODES[utterance.emotion]
        check_listed(path, emotion, listed)
        if emotion in LABELS:
            samples.append(Sample(str(path), LABELS[emotion], f"emodb-{utterance.speaker}", dataset="emodb"))
        else:
            dropped.append(Dropped(str(path), "", f"label: {emotion}"))
    return DataSet("emodb", tuple(samples), tuple(dropped))
