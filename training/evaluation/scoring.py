"""The figures of an evaluation, as tables."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from emolabel import metrics
from emolabel.labels import EMOTIONS, MODALITIES, N_EMOTIONS
from emolabel.types import Int64Array
from training.evaluation.labels import FUSED
from training.evaluation.matching import Clips

ALL: Final = "all"
FOLDS: Final = "folds"
_ENOUGH_FOR_A_DEVIATION: Final = 2


@dataclass(frozen=True, eq=False)
class Scores:
    """What an evaluation found. All tables are long, one value or class a row."""

    values: pd.DataFrame
    """`group` (`all`, `dataset=afew`, …; `folds` for what folds come to), `modality`, `metric`, `value`, `n` (clips
    that it was taken over; folds in the group `folds`; frames, slices or seconds for `single_accuracy`)."""
    confusions: dict[str, Int64Array]
    """(7, 7) counts of each modality, rows are the truth."""
    reliability: dict[str, metrics.ReliabilityBins]
    """Of each modality."""

    @property
    def modalities(self) -> list[str]:
        """Those with scores, the fused one first."""
        return list(self.confusions)

    def value(self, metric: str, modality: str = FUSED, group: str = ALL) -> float | None:
        """One figure; None where there is none."""
        row = self._row(metric, modality, group)
        return None if row is None else float(row["value"])

    def n(self, metric: str, modality: str = FUSED, group: str = ALL) -> int:
        """What a figure was taken over; 0 where there is none."""
        row = self._row(metric, modality, group)
        return 0 if row is None else int(row["n"])

    def _row(self, metric: str, modality: str, group: str) -> "pd.Series[Any] | None":
        table = self.values
        rows = table[(table["metric"] == metric) & (table["modality"] == modality) & (table["group"] == group)]
        return rows.iloc[0] if len(rows) else None

    def groups(self, by: str) -> list[str]:
        """The groups of one column, in natural order."""
        names = self.values["group"].unique()
        return sorted((name for name in names if name.startswith(f"{by}=")), key=_natural)

    def confusion_table(self) -> pd.DataFrame:
        """`modality`, `truth`, `predicted`, `n`, `share` (of the clips of that truth, 0-1)."""
        table: pd.DataFrame = pd.DataFrame(
            {
                "modality": modality,
                "truth": EMOTIONS[i],
                "predicted": EMOTIONS[j],
                "n": int(confusion[i, j]),
                "share": confusion[i, j] / confusion[i].sum() if confusion[i].sum() else np.nan,
            }
            for modality, confusion in self.confusions.items()
            for i in range(N_EMOTIONS)
            for j in range(N_EMOTIONS)
        )
        return table

    def class_table(self) -> pd.DataFrame:
        """`modality`, `label`, `n_truth`, `n_predicted`, `precision`, `recall`, `f1`."""
        tables: list[pd.DataFrame] = [
            pd.DataFrame({"modality": modality, "label": EMOTIONS, **vars(metrics.class_scores(confusion))})
            for modality, confusion in self.confusions.items()
        ]
        return pd.concat(tables, ignore_index=True)

    def reliability_table(self) -> pd.DataFrame:
        """`modality`, `above`, `up_to` (of the top probability), `n`, `confidence`, `accuracy`."""
        tables: list[pd.DataFrame] = [
            pd.DataFrame(
                {
                    "modality": modality,
                    "above": bins.edges[:-1],
                    "up_to": bins.edges[1:],
                    "n": bins.n,
                    "confidence": bins.confidence,
                    "accuracy": bins.accuracy,
                }
            )
            for modality, bins in self.reliability.items()
        ]
        return pd.concat(tables, ignore_index=True)


def score_clips(clips: Clips, single: pd.DataFrame, by: Sequence[str]) -> Scores:
    """All figures.

    Args:
        clips: at least one of them scored.
        single: `modality`, `n`, `correct` of single frames, slices or seconds, as training wrote them; may be empty.
        by: columns of `clips.groups` to break the figures down by. Folds also get a mean and a sample deviation.
    """
    everyone = np.ones(len(clips), dtype=bool)
    values = [*_of_group(clips, ALL, everyone), *_of_all(clips), *_single(single)]
    for column in by:
        for name in sorted(clips.groups[column].unique(), key=_natural):
            members = (clips.groups[column] == name).to_numpy()
            values += _of_group(clips, f"{column}={name}", members)
    if "fold" in by:
        values += _over_folds(values)
    scored = {modality: clips.scored(modality) for modality in clips.scores}
    return Scores(
        values=pd.DataFrame(values, columns=["group", "modality", "metric", "value", "n"]),
        confusions={modality: _confusion(clips, modality, mask) for modality, mask in scored.items()},
        reliability={
            modality: metrics.reliability_bins(clips.scores[modality][mask], clips.truth[mask])
            for modality, mask in scored.items()
        },
    )


_Value = tuple[str, str, str, float, int]


def _confusion(clips: Clips, modality: str, mask: npt.NDArray[np.bool_]) -> Int64Array:
    predicted = clips.scores[modality][mask].argmax(axis=1)
    return metrics.confusion_matrix(clips.truth[mask], predicted, N_EMOTIONS)


def _of_group(clips: Clips, group: str, members: npt.NDArray[np.bool_]) -> Iterator[_Value]:
    total = int(members.sum())
    for modality in clips.scores:
        mask = members & clips.scored(modality)
        n = int(mask.sum())
        if n:
            confusion = _confusion(clips, modality, mask)
            yield group, modality, "accuracy", metrics.accuracy(confusion), n
            yield group, modality, "uar", metrics.unweighted_average_recall(confusion), n
            yield group, modality, "accuracy_unscored_wrong", float(confusion.trace()) / total, total
        yield group, modality, "unscored", float(total - n), total


def _of_all(clips: Clips) -> Iterator[_Value]:
    for modality, scores in clips.scores.items():
        mask = clips.scored(modality)
        truth, probabilities, n = clips.truth[mask], scores[mask], int(mask.sum())
        of_classes = metrics.class_scores(_confusion(clips, modality, mask))
        present = of_classes.n_truth > 0
        bins = metrics.reliability_bins(probabilities, truth)
        yield ALL, modality, "macro_f1", float(of_classes.f1[present].mean()), n
        yield ALL, modality, "ece", bins.expected_calibration_error, n
        yield ALL, modality, "brier", metrics.brier_score(probabilities, truth), n
        yield ALL, modality, "nll", metrics.negative_log_likelihood(probabilities, truth), n


def _single(single: pd.DataFrame) -> Iterator[_Value]:
    for modality in MODALITIES:
        of_modality = single[single["modality"] == modality]
        n, correct = int(of_modality["n"].sum()), int(of_modality["correct"].sum())
        if n:
            yield ALL, modality, "single_accuracy", correct / n, n


def _over_folds(values: Sequence[_Value]) -> Iterator[_Value]:
    """Mean and sample standard deviation over folds; a fold counts once, whatever its size."""
    table = pd.DataFrame(values, columns=["group", "modality", "metric", "value", "n"])
    folds = table[table["group"].str.startswith("fold=") & table["metric"].isin(["accuracy", "uar"])]
    for (modality, metric), of_folds in folds.groupby(["modality", "metric"], sort=False)["value"]:
        n = len(of_folds)
        yield FOLDS, modality, f"{metric}_mean", float(of_folds.mean()), n
        if n >= _ENOUGH_FOR_A_DEVIATION:
            yield FOLDS, modality, f"{metric}_std", float(of_folds.std(ddof=1)), n


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Numbers in names in the order of their size.

    >>> sorted(["fold=10", "fold=9"], key=_natural)
    ['fold=9', 'fold=10']
    """
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
