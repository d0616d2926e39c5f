"""What a run shows on the terminal: progress while it goes on, and at its end what came of every input."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from emolabel.errors import Status
from emolabel.pipeline.annotate import Progress
from emolabel.pipeline.estimate import Estimate

_LINE_EVERY_S = 30.0
_REASONS_SHOWN = 3


@contextmanager
def live_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on a terminal; elsewhere, in a job's log say, a line every half minute."""
    if not console.is_terminal:
        yield _line_printer(console)
        return
    columns = (
        TextColumn("[bold]labelling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("inputs", total=None, note="starting")

        def show(progress: Progress) -> None:
            bar.update(task, total=progress.n_inputs, completed=progress.n_finished, note=_note(progress))

        yield show


def _line_printer(console: Console) -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            console.print(f"{progress.n_finished}/{progress.n_inputs} inputs, {_note(progress)}")

    return show


def _note(progress: Progress) -> str:
    rate = progress.video_s / progress.seconds if progress.seconds else 0.0
    failed = f", {progress.n_failed} failed" if progress.n_failed else ""
    return f"{progress.n_windows} windows, {duration(progress.video_s)} of video ({rate:.1f}x real time){failed}"


def print_summary(console: Console, progress: Progress) -> None:
    """The table by status with its reasons, throughput, and where the output lies."""
    if progress.n_done_before or progress.n_resumed:
        text = f"{progress.n_done_before} inputs were finished by earlier runs and left as they are"
        if progress.n_failed_before:
            text += f" ({progress.n_failed_before} of them failed)"
        if progress.n_resumed:
            text += f"; {progress.n_resumed} were finished in part, and went on from there"
        console.print(text)
    if progress.n_duplicates:
        console.print(f"{progress.n_duplicates} inputs were named more than once and labelled once")
    if progress.inputs:
        table = _table("status", "inputs", "reason", "for example")
        for status in Status:
            if progress.inputs[status]:
                reasons = progress.reasons.get(status)
                lines = [f"{text} ({n})" for text, n in reasons.most_common(_REASONS_SHOWN)] if reasons else []
                if reasons and len(reasons) > _REASONS_SHOWN:
                    lines.append(f"and {len(reasons) - _REASONS_SHOWN} more reasons")
                table.add_row(
                    str(status),
                    str(progress.inputs[status]),
                    Text("\n".join(lines)),
                    Text(_tail(progress.examples[status])),
                )
        console.print(table)
        windows = ", ".join(f"{n} {status}" for status, n in sorted(progress.windows.items()))
        console.print(f"windows: {windows}")
        rate = progress.video_s / progress.seconds
        console.print(
            f"{duration(progress.video_s)} of video in {duration(progress.seconds)} "
            f"({rate:.1f}x real time, {60 * progress.n_finished / progress.seconds:.0f} inputs a minute)"
        )
    else:
        console.print("nothing left to do")
    # Names and reasons are no markup: a folder may be called [old].
    places = f"labels: {progress.out}/labels/*.parquet, inputs: {progress.out}/inputs/*.parquet"
    console.print(places, markup=False)
    if progress.model.startswith("untrained"):
        console.print(
            f"[bold red]THE MODEL IS UNTRAINED[/] (model = {escape(progress.model)}): its weights are random, "
            "and its labels say nothing about emotions. Give a trained one with --model."
        )


def print_estimate(console: Console, estimate: Estimate) -> None:
    """What a dry run found."""
    console.print(
        f"{estimate.n_listed} inputs: {estimate.n_done} done already, {estimate.n_todo} to do"
        + (f", of which {estimate.n_skipped} are no media by their name" if estimate.n_skipped else "")
    )
    if not estimate.n_probed:
        return
    console.print(
        f"probed {estimate.n_probed}: about {duration(estimate.video_s)} of content in {estimate.n_windows} windows"
        + (f"; {estimate.n_unreadable} of the probed ones cannot be read" if estimate.n_unreadable else "")
    )
    console.print(
        f"one window takes about {estimate.window_cost_s:.2f} s of one core of this machine: "
        f"about {duration(estimate.wall_s)} with {estimate.workers} workers like it, "
        f"{estimate.core_hours:.1f} core-hours"
    )


def print_labels(console: Console, out: Path) -> None:
    """The labels of a small run, a line for each row."""
    from emolabel.pipeline.reading import read_labels

    table = _table("clip", "window", "face", "emotion", "score", "status")
    for row in read_labels(str(out)).sort_values(["input", "window_index", "face_id"]).itertuples():
        box = f"{row.face_w:.0f}x{row.face_h:.0f} px" if row.has_face else "-"
        labelled = row.dominant_emotion if isinstance(row.dominant_emotion, str) else "-"
        score = f"{row.emotion_score:.2f}" if labelled != "-" else "-"
        span = f"{row.start_s:.1f}-{row.end_s:.1f} s"
        table.add_row(Text(Path(str(row.input)).name), span, box, labelled, score, str(row.status))
    console.print(table)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="bold", pad_edge=False)


def duration(seconds: float) -> str:
    """For people.

    >>> duration(5.25), duration(65), duration(7500)
    ('5.2 s', '1 min 5 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def _tail(name: str, width: int = 60) -> str:
    return name if len(name) <= width else f"…{name[1 - width :]}"
