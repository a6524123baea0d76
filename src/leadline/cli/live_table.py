"""A live table of a study: read from the records alone, so that any terminal can show it."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from leadline.cli.plan import duration, learned
from leadline.cli.sweep_summary import open_console, score_of
from leadline.runs import record
from leadline.runs.record import State
from leadline.studies import Plan, Run
from leadline.studies.estimate import Estimator

SECONDS_BETWEEN_LOOKS = 1.0
# Runs under way whose last line of log there is room for.
MOST_RUNNING = 12


def picture(plan: Plan, runs: Sequence[Run], estimator: Estimator) -> RenderableType:
    """Draw how far a study is: arms, what runs say, and the time left on one device."""
    table = Table(title=plan.study.question, title_justify="left", title_style="bold")
    for heading in ("arm", "at"):
        table.add_column(heading)
    for heading in ("done", "running", "failed", "to do", "score so far", "work left"):
        table.add_column(heading, justify="right")
    states = {run.run_id: run.state() for run in runs if run.name is not None}
    for (arm, point), own in grouped(runs).items():
        counts = Counter(states[run.run_id] for run in own)
        left = [run for run in own if states[run.run_id] not in (State.DONE, State.NOT_APPLICABLE)]
        waiting = counts[State.MISSING] + counts[State.INTERRUPTED]
        seconds = [estimator.of(run).seconds for run in left]
        known = [value for value in seconds if value is not None]
        numbers = (counts[State.DONE], counts[State.RUNNING], counts[State.FAILED], waiting)
        table.add_row(
            escape(arm),
            escape(point),
            *(str(number) if number else "" for number in numbers),
            score_of(own),
            duration(sum(known)) if known else "",
        )
    running = [run for run in runs if run.name and states[run.run_id] is State.RUNNING]
    said = [f"{run.run_id}: {last_line(run)}" for run in running[:MOST_RUNNING]]
    done = sum(state is State.DONE for state in states.values())
    return Group(table, *map(escape, said), f"{done} of {len(runs)} runs done")


def grouped(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """Sort the runs that can be made by the arm that they serve, and where in the grid."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.name is not None:
            for arm in run.arms or (run.label,):
                found.setdefault((arm, run.point), []).append(run)
    return found


def last_line(run: Run) -> str:
    """Give what a run said last, without the date."""
    try:
        lines = (run.folder / record.LOG).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1].partition(" ")[2] if lines else ""


def watch(plan: Plan, runs: Sequence[Run]) -> None:
    """Show the table until nothing is left to do, or until Ctrl-C."""
    estimator = learned(runs)
    console = open_console()
    if not console.is_terminal:
        console.print(picture(plan, runs, estimator))
        return
    # Ctrl-C is how a person stops watching.
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as screen:
        while True:
            screen.update(picture(plan, runs, estimator), refresh=True)
            if all(run.name is None or run.state() is State.DONE for run in runs):
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


@contextmanager
def live(plan: Plan, runs: Sequence[Run]) -> Iterator[None]:
    """Show the table for as long as this lasts, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    estimator, over = learned(runs), threading.Event()
    with Live(console=Console(stderr=True, highlight=False), auto_refresh=False) as screen:

        def draw() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                screen.update(picture(plan, runs, estimator), refresh=True)

        drawing = threading.Thread(target=draw, daemon=True)
        drawing.start()
        try:
            yield
        finally:
            over.set()
            drawing.join()


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Give rows as lines; numbers stand to the right, other texts to the left.

    Examples
    --------
    >>> aligned([("name", "0.5"), ("n", "0.25")])
    ['name   0.5', 'n     0.25']
    """
    if not rows:
        return []
    count = max(map(len, rows))
    filled = [[*row, *[""] * (count - len(row))] for row in rows]
    columns = list(zip(*filled, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [any(map(is_number, c)) and all(is_number(t) or not t for t in c[1:]) for c in columns]
    return [
        (indent + "  ".join(place(*cell) for cell in zip(row, widths, right, strict=True))).rstrip()
        for row in filled
    ]


def place(text: str, width: int, right: bool) -> str:
    """Pad a text to a column's width."""
    return text.rjust(width) if right else text.ljust(width)


def is_number(text: str) -> bool:
    """Say whether a text is a number, perhaps with a sign, thousands and a unit of percent."""
    try:
        float(text.replace(",", "").rstrip("%"))
    except ValueError:
        return False
    return True
