"""The figures for people: the same sections as Markdown and on the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.evaluation.labels import FUSED
from training.evaluation.matching import NO_TRUTH, Clips
from training.evaluation.scoring import FOLDS, Scores

_LISTED = 10
_GROUPS_SHOWN = 40
_NOTHING = "–"


@dataclass(frozen=True)
class Section:
    """A heading, text and a table, each of which may be missing but the heading."""

    title: str
    text: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()


def summarise(clips: Clips, scores: Scores, models: Sequence[str], by: Sequence[str]) -> list[Section]:
    """All that a reader of the report wants to see."""
    sections = [
        _overview(clips, scores, models),
        _modalities(scores),
        *([_folds(scores)] if "fold" in by else []),
        _classes(scores),
        _calibration(scores),
        *(_groups(scores, column) for column in by if column != "fold"),
    ]
    return [*sections, *_unmatched(clips.unmatched)]


def to_markdown(sections: Sequence[Section]) -> str:
    """GitHub's dialect."""
    lines = ["# Evaluation"]
    for section in sections:
        lines += ["", f"## {section.title}"]
        for paragraph in section.text:
            lines += ["", paragraph]
        if section.rows:
            rule = ["---", *["---:"] * (len(section.columns) - 1)]
            # A name may hold the character that parts the cells.
            cells = [[cell.replace("|", "\\|") for cell in row] for row in [section.columns, *section.rows]]
            table = [cells[0], rule, *cells[1:]]
            lines += ["", *(f"| {' | '.join(row)} |" for row in table)]
    return "\n".join(lines) + "\n"


def print_sections(console: Console, sections: Sequence[Section]) -> None:
    """The same on a terminal."""
    for section in sections:
        console.print(f"\n[bold]{escape(section.title)}[/]")
        for paragraph in section.text:
            console.print(paragraph, markup=False)
        if section.rows:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for i, name in enumerate(section.columns):
                table.add_column(escape(name), justify="right" if i else "left", overflow="fold")
            for row in section.rows:
                table.add_row(*map(escape, row))
            console.print(table)


def _overview(clips: Clips, scores: Scores, models: Sequence[str]) -> Section:
    n = scores.n("accuracy")
    lost = len(clips) - n
    text = [
        f"{len(clips)} clips have a truth. {n} of them have scores"
        + (f", {lost} have none and are in no accuracy below but the last column." if lost else "."),
        *clips.notes,
    ]
    if models:
        text.insert(0, f"Labelled by {', '.join(models)}.")
    return Section("Clips", tuple(text))


def _modalities(scores: Scores) -> Section:
    rows = [
        (
            name,
            _percent(scores.value("single_accuracy", name)),
            _percent(scores.value("accuracy", name)),
            _percent(scores.value("uar", name)),
            _percent(scores.value("macro_f1", name)),
            str(scores.n("accuracy", name)),
            _percent(scores.value("accuracy_unscored_wrong", name)),
        )
        for name in scores.modalities
    ]
    text = (
        "In percent. Single: over frames, slices or seconds by themselves. Averaged: over clips, by the mean "
        "probability of each. The last column counts clips without scores as wrong, which makes the rows comparable. "
        "A blind guess has a UAR of one over the number of emotions in the truth: 14.29 for seven.",
    )
    columns = ("", "single", "averaged", "UAR", "macro F1", "clips", "averaged, none = wrong")
    return Section("Fused label and branches", text, columns, rows)


def _folds(scores: Scores) -> Section:
    names = scores.groups("fold")
    rows = [_group_row(scores, group) for group in names]
    means, deviations = (
        [
            _percent(scores.value(f"{metric}_{statistic}", name, FOLDS))
            for name in scores.modalities
            for metric in ("accuracy", "uar")
        ]
        for statistic in ("mean", "std")
    )
    rows += [("mean", "", *means), ("standard deviation", "", *deviations)]
    text = ("In percent. Each fold counts once; the deviation is that of a sample (n - 1).",)
    return Section("Cross-validation", text, _group_columns(scores, "fold"), rows)


def _groups(scores: Scores, column: str) -> Section:
    names = scores.groups(column)
    text = ["In percent."]
    if len(names) > _GROUPS_SHOWN:
        text.append(f"The first {_GROUPS_SHOWN} of {len(names)}; metrics.parquet has them all.")
    rows = [_group_row(scores, group) for group in names[:_GROUPS_SHOWN]]
    return Section(f"By {column}", tuple(text), _group_columns(scores, column), rows)


def _group_columns(scores: Scores, column: str) -> tuple[str, ...]:
    return (column, "clips", *(f"{name} {metric}" for name in scores.modalities for metric in ("accuracy", "UAR")))


def _group_row(scores: Scores, group: str) -> tuple[str, ...]:
    values = (
        _percent(scores.value(metric, name, group)) for name in scores.modalities for metric in ("accuracy", "uar")
    )
    return (group.partition("=")[2] or "(unknown)", str(scores.n("accuracy", FUSED, group)), *values)


def _classes(scores: Scores) -> Section:
    table = scores.class_table()
    fused = table[table["modality"] == FUSED]
    rows = [
        (row.label, str(row.n_truth), str(row.n_predicted), *map(_percent, (row.precision, row.recall, row.f1)))
        for row in fused.itertuples()
    ]
    columns = ("emotion", "clips", "given", "precision", "recall", "F1")
    return Section("Emotions, fused label", ("In percent.",), columns, rows)


def _calibration(scores: Scores) -> Section:
    rows = [
        (name, *(_decimal(scores.value(metric, name)) for metric in ("ece", "brier", "nll")))
        for name in scores.modalities
    ]
    text = ("ECE: expected calibration error, 15 bins of equal width. Brier: 0 to 2. NLL in nats.",)
    return Section("Calibration", text, ("", "ECE", "Brier", "NLL"), rows)


def _unmatched(unmatched: pd.DataFrame) -> Iterator[Section]:
    if not len(unmatched):
        return
    counts = unmatched.fillna({"status": _NOTHING}).groupby(["kind", "status"], sort=True).size()
    rows = [(str(kind), str(status), str(n)) for (kind, status), n in counts.items()]
    yield Section("What could not be compared", (), ("kind", "status", "n"), rows)
    # Clips with a truth first: they may change the figures.
    ordered = unmatched.sort_values("kind", key=lambda kinds: kinds == NO_TRUTH, kind="stable")
    listed = [
        (
            str(row.input),
            str(row.kind),
            *(value if isinstance(value, str) else _NOTHING for value in (row.status, row.error)),
        )
        for row in ordered.head(_LISTED).itertuples()
    ]
    more = f"The first {_LISTED} of {len(unmatched)}; " if len(unmatched) > _LISTED else ""
    yield Section("Which", (f"{more}unmatched.parquet lists them all.",), ("input", "kind", "status", "error"), listed)


def _percent(value: float | None) -> str:
    return _NOTHING if value is None or value != value else f"{100 * value:.2f}"


def _decimal(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4f}"
