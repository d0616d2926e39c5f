"""Which labels belong to which clip, and the clip's scores: the mean over its windows."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from emolabel.types import Float64Array, Int64Array
from training.evaluation.labels import FUSED, SCORES, TRUTH_COLUMNS, Labels
from training.evaluation.truth import Truth, place

GROUPS: Final = TRUTH_COLUMNS[1:]
UNMATCHED_COLUMNS: Final = ("kind", "input", "start_s", "end_s", "label", "status", "error")
NO_SCORES, NOT_LABELLED, NO_TRUTH = "no scores", "not labelled", "no truth"


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a truth, with what the labels say of them."""

    truth: Int64Array
    """(n,) class numbers, in the order of `EMOTIONS`."""
    scores: dict[str, Float64Array]
    """(n, 7) for `fused` and each branch that has any: probabilities, rows of NaN where a clip has none."""
    groups: pd.DataFrame
    """(n rows) those of `GROUPS` that are known; strings, empty: unknown. Where there are several data sets, a subject
    is `dataset/subject`."""
    unmatched: pd.DataFrame
    """What could not be compared, columns `UNMATCHED_COLUMNS`: clips with a truth whose labels have no scores
    (`no scores`) or that were never labelled (`not labelled`), and inputs that the truth does not know (`no truth`)."""
    notes: tuple[str, ...]
    """What a reader of the figures must know of how they were matched."""

    def __len__(self) -> int:
        return len(self.truth)

    def scored(self, modality: str) -> npt.NDArray[np.bool_]:
        """(n,) which clips have scores of the modality."""
        return ~np.isnan(self.scores[modality][:, 0])


def match_clips(labels: Labels, truth: Truth, split: str | None = None) -> Clips:
    """Bring labels and truth together.

    A clip's scores are the mean over its windows that have scores, and within a window the mean over faces. Where the
    truth names a stretch of a file, its windows are those with their middle in the stretch. Files are matched by
    their full path or URI; only where not one is found that way, by their names, and then only by names that are
    unique on both sides.

    Args:
        labels: of one model.
        truth: from a manifest, or from the labels themselves.
        split: take the clips of this split alone.

    Raises:
        TrainingError: no clip has scores, none is of the split, or a file was labelled in several versions.
    """
    rows, inputs, clips, key = labels.rows, labels.inputs, truth.clips, truth.key
    notes = []
    if key == "place":
        rows, inputs, note = _placed(rows, inputs, clips)
        notes += [note] if note else []
    bounds = clips.reindex(columns=[key, "start_s", "end_s"]).rename(columns={"start_s": "from_s", "end_s": "to_s"})
    found = rows.merge(bounds.assign(clip=clips.index), on=key)
    if not len(found):
        raise TrainingError(
            f"labels and truth have no clip in common: {clips['input'].iloc[0]} is one of the {len(clips)} in the "
            f"truth, and {rows['input'].iloc[0] if len(rows) else 'nothing'} was labelled"
        )
    if key == "place":
        found, note = _inside(found)
        notes += [note] if note else []
    groups = _groups(clips, found)
    strangers = _without_truth(rows, inputs, clips, key)
    if split is not None:
        clips, groups = _of_split(clips, groups, split)
    scores = _clip_scores(found, clips.index)
    losers = _without_scores(clips[np.isnan(scores[FUSED][:, 0])], found, inputs, key)
    if len(losers) == len(clips):
        reasons = ", ".join(f"{name}: {n}" for name, n in losers["status"].value_counts().items())
        raise TrainingError(f"none of the {len(clips)} clips has scores ({reasons})")
    return Clips(
        truth=np.array([EMOTIONS.index(label) for label in clips["label"]], dtype=np.int64),
        scores=scores,
        groups=groups.reset_index(drop=True),
        unmatched=pd.concat([part for part in (losers, strangers) if len(part)] or [losers], ignore_index=True),
        notes=tuple(notes),
    )


def _placed(
    rows: pd.DataFrame, inputs: pd.DataFrame, clips: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, str | None]:
    """Labels and inputs with the `place` of the truth's files, and what to say of it."""
    names = pd.concat([rows["input"], inputs["input"]]).unique()
    places = {name: place(name) for name in names}
    note = None
    if not set(places.values()) & set(clips["place"]):
        labelled, of_truth = _unique_names(set(places.values())), _unique_names(set(clips["place"]))
        moved = {labelled[name]: of_truth[name] for name in labelled.keys() & of_truth.keys()}
        places = {name: moved.get(where, where) for name, where in places.items()}
        note = (
            "No file of the truth lies where a labelled one does, so files were matched by their names: "
            f"{len(moved)} names are unique on both sides, of {clips['place'].nunique()} files in the truth and "
            f"{len(names)} labelled."
        )
    return rows.assign(place=rows["input"].map(places)), inputs.assign(place=inputs["input"].map(places)), note


def _unique_names(places: set[str]) -> dict[str, str]:
    """File names that only one place has, and that place."""
    names = pd.Series({where: PurePosixPath(where).name for where in places}, dtype=object)
    return {name: str(where) for where, name in names[~names.duplicated(keep=False)].items()}


def _inside(found: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """The rows whose window belongs to the stretch that is the clip, and what to say of the others."""
    middle = (found["start_s"] + found["end_s"]) / 2
    inside = found[(middle >= found["from_s"].fillna(-np.inf)) & (middle < found["to_s"].fillna(np.inf))]
    whole = inside[inside["from_s"].isna() & inside["to_s"].isna()]
    versions = whole.groupby("clip")["video_id"].nunique()
    if (versions > 1).any():
        one = whole.loc[whole["clip"] == versions.idxmax(), "input"].iloc[0]
        raise TrainingError(
            f"{int((versions > 1).sum())} files of the truth were labelled more than once, as several versions or "
            f"stretches of the file: {one} for one. Label them again into a new folder"
        )
    window = ["video_id", "window_index"]
    n_outside = len(found[window].drop_duplicates()) - len(inside[window].drop_duplicates())
    note = f"{n_outside} windows lie outside the stretches that the truth names, and were left out."
    return inside, note if n_outside else None


def _groups(clips: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """What the truth says of each clip; where it has no such column, what rides along with the labels."""
    first = found.drop_duplicates("clip").set_index("clip")
    known = {
        name: clips[name] if name in clips else first[name].reindex(clips.index).fillna("")
        for name in GROUPS
        if name in clips or name in first
    }
    said = {name: values for name, values in known.items() if values.any()}
    groups: pd.DataFrame = pd.DataFrame(said, index=clips.index)
    if {"subject", "dataset"} <= set(groups) and groups["dataset"].nunique() > 1:
        # Every set has a subject 1, and it is not the same person.
        several = groups["dataset"] + "/" + groups["subject"]
        groups["subject"] = groups["subject"].where(groups["subject"] == "", several)
    return groups


def _of_split(clips: pd.DataFrame, groups: pd.DataFrame, split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    if "split" not in groups:
        raise TrainingError("the truth does not say of which split its clips are")
    chosen = groups["split"] == split
    if not chosen.any():
        known = ", ".join(f"'{name}'" for name in sorted(groups["split"].unique()))
        raise TrainingError(f"no clip is of the split '{split}'; there are: {known}")
    return clips[chosen], groups[chosen]


def _clip_scores(found: pd.DataFrame, clips: pd.Index) -> dict[str, Float64Array]:
    """(n, 7) of each modality that has any."""
    scores = {}
    for modality, columns in SCORES.items():
        if not set(columns) <= set(found.columns):
            continue
        windows = found.groupby(["clip", "video_id", "window_index"])[columns].mean()
        values = windows.groupby("clip").mean().reindex(clips).to_numpy(dtype=np.float64)
        if modality == FUSED or not np.isnan(values).all():
            # Sums of float32 are off by 1e-7, and a half-precision model's by more.
            scores[modality] = values / values.sum(axis=1, keepdims=True)
    return scores


def _without_scores(lost: pd.DataFrame, found: pd.DataFrame, inputs: pd.DataFrame, key: str) -> pd.DataFrame:
    """Clips that have a truth and nothing to compare it with, and why."""
    told = ["status", "error"]
    # Of several windows the first speaks; training's predictions may have no such columns.
    by_clip = found.reindex(columns=["clip", *told]).drop_duplicates("clip").set_index("clip").reindex(lost.index)
    by_input = inputs.drop_duplicates(key).set_index(key)[told].reindex(lost[key]).set_axis(lost.index)
    labelled = lost.index.isin(found["clip"])
    tried = lost[key].isin(inputs[key])
    because = by_clip.where(pd.Series(labelled, lost.index), by_input, axis=0)
    because.loc[~labelled & tried, "error"] = because["error"].fillna("no window has its middle in the stretch")
    because.loc[~labelled & ~tried, "status"] = NOT_LABELLED
    kind = np.where(labelled | tried, NO_SCORES, NOT_LABELLED)
    told_of: pd.DataFrame = lost.assign(**because, kind=kind).reindex(columns=UNMATCHED_COLUMNS)
    return told_of


def _without_truth(rows: pd.DataFrame, inputs: pd.DataFrame, clips: pd.DataFrame, key: str) -> pd.DataFrame:
    """Inputs that were labelled, or tried, and that the truth does not know."""
    # The row of `inputs` first: it speaks of the whole file.
    both = pd.concat([part.reindex(columns=[key, *UNMATCHED_COLUMNS]) for part in (inputs, rows) if len(part)])
    unknown = both.drop_duplicates(key)
    # Times and labels of its first window say nothing of an input.
    blank = {"start_s": np.nan, "end_s": np.nan, "label": None, "kind": NO_TRUTH}
    strangers = unknown[~unknown[key].isin(clips[key])].assign(**blank)
    listed: pd.DataFrame = strangers[list(UNMATCHED_COLUMNS)]
    return listed
