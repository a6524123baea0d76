"""`leadline show`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "tell what one run is, what came of it, and why it failed if it did"
HELP = """\
RUN is a record's folder, its id, or the beginning of its id.

example: leadline show logreg-pbmc68k_reduced-f1-s1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def call(chosen: argparse.Namespace) -> int:
    """Print the account of the run."""
    from leadline.cli.show import shown
    from leadline.runs.records import find_run

    print("\n".join(shown(find_run(chosen.run, chosen.runs))))
    return 0
