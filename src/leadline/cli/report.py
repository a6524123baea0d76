"""`leadline report`."""

from __future__ import annotations

import argparse

from leadline.errors import GOOD


def call(chosen: argparse.Namespace) -> int:
    """Write the page."""
    from leadline.papers.boiarsky.reference import PublishedReference
    from leadline.report.write import write_report

    reference = PublishedReference()
    print(
        write_report(
            chosen.runs, chosen.out, chosen.names, published=chosen.published, reference=reference
        )
    )
    return GOOD
