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
    """Grows window by window."""

    windows: dict[int, Status] = field(default_factory=dict)
    """The worst status of each window's rows."""
    labelled: set[int] = field(default_factory=set)
    """Windows with scores."""
    errors: Counter[str] = field(default_factory=Counter)
    probability_sum: Float64Array = field(default_factory=lambda: np.zeros(N_EMOTIONS))
    seconds: float = 0.0

    def add(self, window_index: int, rows: Iterable[Mapping[str, Any]], seconds: float = 0.0) -> None:
        """Count one window: its rows need the columns of `TALLIED`."""
        for row in rows:
            status = Status(row["status"])
            if self.windows.get(window_index, Status.OK) is Status.OK:
                self.windows[window_index] = status
            if row["error"]:
                self.errors[row["error"]] += 1
            if row["dominant_emotion"] is not None:
                self.labelled.add(window_index)
                self.probability_sum += [row[emotion] for emotion in EMOTIONS]
            elif row["valence"] is not None:
                self.labelled.add(window_index)
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
        reason = self.errors.most_common(1)[0][0] if self.errors else None
        failed = {status: n for status, n in counts.items() if status.failure}
        if failed and Status.PARTIAL not in failed and not self.labelled:
            return max(failed, key=lambda status: failed[status]), reason
        if failed:
            return Status.PARTIAL, f"{sum(failed.values())} of {len(self.windows)} windows are incomplete: {reason}"
        if facts.damage is not None:
            return Status.PARTIAL, facts.damage
        for status in (Status.OK, Status.NO_VIDEO, Status.NO_AUDIO, Status.NO_FACE):
            if counts[status]:
                return status, None if status is Status.OK else reason
        return Status.NO_SIGNAL, reason
