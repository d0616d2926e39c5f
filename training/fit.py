"""Whether a prepared data set is what a model looks at."""

from dataclasses import asdict
from pathlib import Path

from emolabel.errors import TrainingError
from emolabel.pipeline.prepare import read_spec
from emolabel.sampling import InputSpec


def check_fit(folder: Path, name: str, wanted: InputSpec, modalities: tuple[str, ...], primary: bool) -> None:
    """Compare what was stored with what the model wants.

    Args:
        modalities: what is learnt from this set.
        primary: whether whole clips of it go through the model, and not just single frames, slices or pieces: then it
            must have as many of them as the model takes.

    Raises:
        TrainingError: they differ; the text names the option of `jobs/prepare.py` to change.
    """
    stored = read_spec(str(folder))
    for modality in modalities:
        theirs, ours = getattr(stored, modality), getattr(wanted, modality)
        if theirs is None or ours is None:
            continue  # a set without sound may still show faces
        free = {"seconds"} if primary else {"seconds", "count"}
        for key, value in asdict(ours).items():
            found = getattr(theirs, key)
            if key not in free and found != value:
                raise TrainingError(
                    f"the data set {name} was prepared with {modality} {key} {found}, the model wants {value}: prepare "
                    f"it again with --model, or with that option changed"
                )
