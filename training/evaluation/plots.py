"""The pictures of an evaluation."""

import io
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from emolabel import metrics
from emolabel.labels import EMOTIONS, N_EMOTIONS
from emolabel.types import Float64Array, Int64Array
from training.evaluation.labels import FUSED
from training.evaluation.scoring import Scores

COLOURS: Final = matplotlib.colormaps["viridis"]
"""Perceptually uniform, also to the colour-blind and in grey."""
_BAR, _GAP, _LINE = "#35608d", "#d1495b", "#444444"
_DPI: Final = 120


def confusion_png(scores: Scores) -> bytes:
    """The confusion matrix of the fused label and of each branch: counts, shares of each row in words and colour."""
    figure, axes = _panels(len(scores.modalities), width=6.6, height=6.2)
    percents = {modality: _percent_of_rows(counts) for modality, counts in scores.confusions.items()}
    scale = Normalize(0, max(float(np.nanmax(percent)) for percent in percents.values()))
    for ax, modality in zip(axes, scores.modalities, strict=True):
        _draw_confusion(ax, scores.confusions[modality], percents[modality], scale)
        ax.set_title(_title(modality, scores), fontsize=12, pad=10)
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("% of the clips of a true emotion")
    return _png(figure)


def reliability_png(scores: Scores) -> bytes:
    """How often the label is right, by how sure it is; below, how many clips there are of each."""
    names = scores.modalities
    figure = Figure(figsize=(4.6 * len(names) + 0.4, 5.6), dpi=_DPI, layout="constrained")
    grid = figure.add_gridspec(2, len(names), height_ratios=(4, 1))
    for column, modality in enumerate(names):
        upper = figure.add_subplot(grid[0, column])
        lower = figure.add_subplot(grid[1, column], sharex=upper)
        _draw_reliability(upper, lower, scores.reliability[modality])
        upper.set_title(f"{modality}: ECE {scores.value('ece', modality):.3f}", fontsize=12)
        if column == 0:
            upper.set_ylabel("share that is right")
            lower.set_ylabel("clips")
            upper.legend(loc="upper left", fontsize=9, frameon=False)
    return _png(figure)


def _draw_confusion(ax: Axes, confusion: Int64Array, percent: Float64Array, scale: Normalize) -> None:
    totals = confusion.sum(axis=1)
    ax.imshow(percent, cmap=COLOURS, norm=scale)
    for i in range(N_EMOTIONS):
        for j in range(N_EMOTIONS):
            if totals[i] == 0:
                continue
            colour = "black" if _lightness(COLOURS(scale(percent[i, j]))) > 0.5 else "white"
            ax.text(j, i - 0.13, str(confusion[i, j]), ha="center", va="center", color=colour, fontsize=11)
            ax.text(j, i + 0.22, f"{percent[i, j]:.0f}%", ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(range(N_EMOTIONS), EMOTIONS, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(N_EMOTIONS), [f"{name} ({n})" for name, n in zip(EMOTIONS, totals, strict=True)])
    ax.set_xlabel("label given")
    ax.set_ylabel("true emotion (clips)")
    ax.set_xticks([i - 0.5 for i in range(1, N_EMOTIONS)], minor=True)
    ax.set_yticks([i - 0.5 for i in range(1, N_EMOTIONS)], minor=True)
    ax.grid(which="minor", color="white", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def _percent_of_rows(confusion: Int64Array) -> Float64Array:
    """NaN, which stays blank, for an emotion without clips."""
    totals = confusion.sum(axis=1, keepdims=True)
    return np.where(totals > 0, 100.0 * confusion / totals.clip(1), np.nan)


def _lightness(rgba: tuple[float, float, float, float]) -> float:
    """0-1, with the weights of ITU-R BT.709."""
    return 0.2126 * rgba[0] + 0.7152 * rgba[1] + 0.0722 * rgba[2]


def _draw_reliability(upper: Axes, lower: Axes, bins: metrics.ReliabilityBins) -> None:
    full = bins.n > 0
    left, widths = bins.edges[:-1], bins.edges[1:] - bins.edges[:-1]
    inner: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
    upper.bar(left[full], bins.accuracy[full], widths[full], color=_BAR, label="is right", **inner)
    upper.plot([0, 1], [0, 1], color=_LINE, linewidth=1, linestyle="--", label="calibrated")
    upper.vlines(
        bins.confidence[full],
        bins.accuracy[full],
        bins.confidence[full],
        color=_GAP,
        linewidth=2,
        label="gap to its mean probability",
    )
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    upper.tick_params(labelbottom=False)
    lower.bar(left, bins.n, widths, color="#9a9a9a", **inner)
    lower.set_xlabel("probability of the label")
    lower.locator_params(axis="y", nbins=3, integer=True)
    for ax in (upper, lower):
        ax.spines[["top", "right"]].set_visible(False)


def _title(modality: str, scores: Scores) -> str:
    name = "fused label" if modality == FUSED else f"{modality} branch"
    accuracy, uar = scores.value("accuracy", modality), scores.value("uar", modality)
    assert accuracy is not None
    assert uar is not None
    return f"{name}: accuracy {100 * accuracy:.1f}%, UAR {100 * uar:.1f}%, n = {scores.n('accuracy', modality)}"


def _panels(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """One panel, or rows of two."""
    columns = min(n, 2)
    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns + 0.6, height * rows), dpi=_DPI, layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def _png(figure: Figure) -> bytes:
    # No pyplot: it keeps figures, and asks for a display.
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
