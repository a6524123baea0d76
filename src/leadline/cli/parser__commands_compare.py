"""`leadline compare`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "tell two runs apart, setting by setting and cell by cell"
HELP = """\
Settings that differ, metrics side by side, McNemar's test and bootstrap intervals over the cells
that both reported on, and the calls that differ most often. RUN is a record's folder, its id, or
the beginning of its id.

example: leadline compare logreg-pbmc68k_reduced-f1-s1 knn_pca-pbmc68k_reduced-f1-s1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("first", metavar="RUN")
    parser.add_argument("second", metavar="RUN")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def call(chosen: argparse.Namespace) -> int:
    """Print the differences."""
    from leadline.cli.compare import compared
    from leadline.runs.records import find_run

    folders = (find_run(text, chosen.runs) for text in (chosen.first, chosen.second))
    print("\n".join(compared(*folders)))
    return 0
