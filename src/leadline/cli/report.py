"""`leadline report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from leadline.errors import GOOD


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
    for line in filter(None, (answer, basis, str(page))):
        print(line)
