"""What the windows of one input add up to: its row in `inputs`. Pure arithmetic."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emolabel.errors import Status
from emolabel.labels import EMOTIONS, N_EMOTIONS
from emolabel.pipeline.messages import InputFacts
from emolabel.pipeline.predict import dominant
from emolabel.types import Float64Array

TALLIED = ("status", "error", "dominant_emotion", "valence", *EMOTIONS)
"""The columns of `labels` that an input's row is made of."""


@dataclass(eq=False)
class InputTally:
    """Grows window by window, in any order."""

    windows: dict[int, Status] = field(default_factory=dict)
    """The worst status of each window's rows."""
    labelled: set[int] = field(default_factory=set)
    """Windows with scores."""
    errors: dict[Status, Counter[str]] = field(default_factory=dict)
    probability_sum: Float64Array = field(default_factory=lambda: np.zeros(N_EMOTIONS))
    """Over windows; within a window the mean over faces counts."""
    seconds: float = 0.0

    def add(self, window_index: int, rows: Iterable[Mapping[str, Any]], seconds: float = 0.0) -> None:
        """Count one window, once, with all its rows; they need the columns of `TALLIED`."""
        self.windows[window_index] = Status.OK
        scores = []
        for row in rows:
            status = Status(row["status"])
            if self.windows[window_index] is Status.OK:
                self.windows[window_index] = status
            if row["error"]:
                self.errors.setdefault(status, Counter())[row["error"]] += 1
            if row["dominant_emotion"] is not None:
                scores.append([row[emotion] for emotion in EMOTIONS])
            if row["dominant_emotion"] is not None or row["valence"] is not None:
                self.labelled.add(window_index)
        if scores:
            self.probability_sum += np.mean(scores, axis=0)
        self.seconds += seconds

    def row(self, facts: InputFacts) -> dict[str, Any]:
        """The input's row, less the columns of the run."""
        status, error = self._status(facts)
        total = self.probability_sum.sum()
        mean = (self.probability_sum / total).astype(np.float32) if total else None
        columns = {k: v for k, v in vars(facts).items() if k != "damage"}
        return {
            **columns,
            "status": str(status),
            "error": error,
            "n_labelled": len(self.labelled),
            "seconds_spent": self.seconds,
            **(dominant(mean) if mean is not None else {}),
        }

    def _status(self, facts: InputFacts) -> tuple[Status, str | None]:
        if facts.status is not None:
            return facts.status, facts.error
        counts = Counter(self.windows.values())
        # In the order of `Status`, not of arrival: the same input has the same row every time.
        failed = [status for status in Status if status.failure and counts[status]]
        if failed and Status.PARTIAL not in failed and not self.labelled:
            most = max(failed, key=lambda status: counts[status])
            return most, self._reason(most)
        if failed:
            n_failed = sum(counts[status] for status in failed)
            return (
                Status.PARTIAL,
                f"{n_failed} of {len(self.windows)} windows are incomplete: {self._reason(failed[0])}",
            )
        if facts.damage is not None:
            return Status.PARTIAL, facts.damage
        for status in (Status.OK, Status.NO_VIDEO, Status.NO_AUDIO, Status.NO_FACE):
            if counts[status]:
                return status, None if status is Status.OK else self._reason(status)
        return Status.NO_SIGNAL, self._reason(Status.NO_SIGNAL)

    def _reason(self, status: Status) -> str | None:
        """The commonest reason of a status; of equally common ones the first in the alphabet."""
        reasons = self.errors.get(status)
        return min(reasons, key=lambda text: (-reasons[text], text)) if reasons else None
