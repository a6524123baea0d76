"""What a person sees while they wait: a bar on a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

SECONDS_BETWEEN_LINES, SECONDS_IN_NOTEBOOKS = 10.0, 0.5


class Advance(Protocol):
    """Counts finished steps; `note` says how it goes."""

    def __call__(self, steps: int, note: str = "") -> None:
        """Count steps."""


@contextmanager
def progress(what: str, total: int, *, shown: bool = True) -> Iterator[Advance]:
    """Show how far a piece of work is; the caller is given `advance(steps)`.

    On a terminal a bar with the time left disappears when the work ends. Elsewhere a line is
    written at most every ten seconds, so that quick work leaves no trace in a log file.
    """
    if not shown:
        yield lambda steps, note="": None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(what, total=total)

            def advance(steps: int, note: str = "") -> None:
                bars.update(task, advance=steps, description=f"{what} {note}".strip())

            yield advance
    else:
        lines = Lines(what, total, in_place=in_notebook())
        yield lines.advance
        lines.close()


def in_notebook() -> bool:
    """Say whether this is the kernel of a notebook."""
    return "ipykernel" in sys.modules and not sys.stderr.isatty()


class Lines:
    """Progress as lines of text; `in_place` writes one line again and again, as notebooks can."""

    def __init__(self, what: str, total: int, *, in_place: bool = False) -> None:
        self.what, self.total, self.done = what, total, 0
        self.in_place, self.written = in_place, False
        self.between = SECONDS_IN_NOTEBOOKS if in_place else SECONDS_BETWEEN_LINES
        self.began = self.last = time.monotonic()

    def advance(self, steps: int, note: str = "") -> None:
        """Count steps, and write a line if the last one is long ago."""
        self.done += steps
        now = time.monotonic()
        if now - self.last < self.between:
            return
        self.last = now
        left = (now - self.began) / self.done * (self.total - self.done)
        words = f", {note}" if note else ""
        line = f"{self.what}: {self.done:,} of {self.total:,}{words}, {left:,.0f} s left"
        if self.in_place:
            self.written = True
            print(f"\r{line:<79}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Empty the line that was written in place."""
        if self.written:
            print(f"\r{'':<79}\r", end="", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Tell the person who waits; stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)
