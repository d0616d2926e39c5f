"""eNTERFACE'05: 44 people act their reaction to six stories, five sentences for each emotion, as video."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from emolabel.errors import TrainingError
from training.datasets.files import files_below, folder_of, folders_in, some
from training.datasets.listing import VIDEO
from training.datasets.manifest import DataSet, Dropped, Sample

LABELS: Final[Mapping[str, str]] = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprise",
}
"""Names of folders. There is no neutral. Martin et al., ICDE workshops 2006; https://enterface.net/enterface05/"""

_SUBJECT: Final = re.compile(r"subject[ _-]?(\d+)", re.IGNORECASE)
_FORM: Final = "folders such as 'subject 1/anger/sentence 1' with .avi files"


def read_enterface05(root: Path) -> DataSet:
    """Clips in `subject N/emotion/sentence N`. Subject and emotion come from the folders. There are no splits.

    File names are not read: some have slips, and those of one subject carry the number of another. A recording that
    lies beside the sentences (`subject N/emotion/*.avi`) is a whole session that was never cut, and is dropped.
    The paper speaks of 1,166 clips of 42 people; the distribution has 1,293 files of 44.

    Raises:
        TrainingError: no such folders, or clips under another emotion.
    """
    folder = folder_of(root)
    subjects = [(path, match) for path in folders_in(folder) if (match := _SUBJECT.fullmatch(path.name))]
    if not subjects:
        raise TrainingError(f"no subjects in {root}: expected {_FORM}")
    samples, dropped = [], []
    for subject, match in subjects:
        for emotion in folders_in(subject):
            clips = files_below(emotion, VIDEO)
            label = LABELS.get(emotion.name.lower())
            if clips and label is None:
                raise TrainingError(f"{emotion}: unknown emotion {emotion.name!r}; eNTERFACE'05 has: {some(LABELS)}")
            for clip in clips:
                if clip.parent == emotion:
                    dropped.append(Dropped(str(clip), "", "a whole session, not cut into sentences"))
                elif label is not None:
                    name = f"enterface05-{int(match.group(1)):02d}"
                    samples.append(Sample(str(clip), label, name, dataset="enterface05"))
    if not samples:
        raise TrainingError(f"no clips under the {len(subjects)} subjects in {root}: expected {_FORM}")
    return DataSet("enterface05", tuple(samples), tuple(dropped))
