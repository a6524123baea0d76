"""`leadline list`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "name the models, datasets, studies and runs that there are"
HELP = "example: leadline list models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    topics = ("models", "datasets", "studies", "runs")
    parser.add_argument("topic", nargs="?", choices=topics, help="one of them; without it, all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def call(chosen: argparse.Namespace) -> int:
    """Print the names."""
    from leadline.cli.list import listed

    print("\n".join(listed(chosen.topic, chosen.runs)))
    return 0
