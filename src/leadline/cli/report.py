"""`leadline report`."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from leadline.errors import GOOD

# Letters of a line, and lines of an answer, on a terminal.
WIDTH, MOST_LINES = 100, 6


def call(chosen: argparse.Namespace) -> int:
    """Write the page."""
    from leadline.papers.boiarsky.reference import PublishedReference
    from leadline.report.write import write_report

    reference = PublishedReference()
    print_answer(
        write_report(
            chosen.runs, chosen.out, chosen.names, published=chosen.published, reference=reference
        )
    )
    return GOOD


def print_answer(page: Path) -> None:
    """Print the answer that a page begins with, for what it holds, and where the page lies."""
    from leadline.report.write import headline

    _, answer, basis = headline(page)
    for line in answer_lines(answer, basis, str(page)):
        print(line)


def answer_lines(answer: str, basis: str, page: str) -> list[str]:
    """Set an answer in at most six lines; a longer basis is cut where a part of it ends.

    Examples
    --------
    >>> answer_lines("Yes.", "All labels; 3 runs.", "report/index.html")
    ['Yes.', 'All labels; 3 runs.', 'report/index.html']
    """
    said = textwrap.wrap(answer, WIDTH)
    room = max(1, MOST_LINES - 1 - len(said))
    parts = basis.split("; ")
    while len(textwrap.wrap("; ".join(parts), WIDTH)) > room and len(parts) > 1:
        parts.pop()
    told = "; ".join(parts)
    if told != basis:
        told = f"{told.rstrip('.')} …"
    return [*said, *textwrap.wrap(told, WIDTH)[:room], page]
