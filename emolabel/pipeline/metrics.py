"""How far a run is, on Ray's Prometheus endpoint, beside the figures that Ray Data keeps of its queues."""

import time
from collections import Counter as Counts
from typing import TYPE_CHECKING

from ray.util.metrics import Counter, Gauge

if TYPE_CHECKING:
    from emolabel.pipeline.annotate import Progress

_EVERY_S = 1.0


class RunMetrics:
    """Counters of one run. Prometheus sees them as `ray_emolabel_...`, from the node of the driver."""

    def __init__(self) -> None:
        self._to_do = Gauge("emolabel_inputs_to_do", "Inputs of the run that are not finished.")
        self._inputs = Counter("emolabel_inputs_finished", "Inputs finished, by status.", tag_keys=("status",))
        self._windows = Counter(
            "emolabel_windows_finished", "Windows labelled or failed, by status.", tag_keys=("status",)
        )
        self._seconds = Counter("emolabel_video_seconds", "Length of the finished inputs.")
        self._told: Counts[tuple[str, str]] = Counts()
        self._told_s = 0.0
        self._last = 0.0

    def update(self, progress: "Progress", at_once: bool = False) -> None:
        """Tell what came since the last time, once a second or `at_once`: it would cost more than to take a window."""
        if not at_once and time.monotonic() - self._last < _EVERY_S:
            return
        self._last = time.monotonic()
        self._to_do.set(progress.n_inputs - progress.n_finished)
        for counter, kind, counts in (
            (self._inputs, "inputs", progress.inputs),
            (self._windows, "windows", progress.windows),
        ):
            for status, n in counts.items():
                new = n - self._told[kind, str(status)]
                if new:
                    counter.inc(new, tags={"status": str(status)})
                    self._told[kind, str(status)] = n
        if progress.video_s > self._told_s:
            self._seconds.inc(progress.video_s - self._told_s)
            self._told_s = progress.video_s
