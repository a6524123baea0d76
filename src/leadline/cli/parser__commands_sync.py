"""`leadline sync`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "upload finished runs to wandb, each once"
HELP = """\
Runs go to the project that they were made for with tracker=wandb; others to the project leadline.
With --study only that study's runs are uploaded, and one run more with its tables and figures.
Needs a key: run `wandb login` once, or set WANDB_API_KEY. docs/wandb.md tells the rest.

example: leadline sync --runs runs --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--study", metavar="NAME", help="this study's runs, tables and figures")
    parser.add_argument("--project", metavar="NAME", help="the wandb project")
    parser.add_argument("--entity", metavar="NAME", help="the wandb team or user")
    offline = "write wandb's offline folders beside the records, and upload nothing"
    parser.add_argument("--offline", action="store_true", help=offline)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be uploaded")


def call(chosen: argparse.Namespace) -> int:
    """Upload; 1 if anything failed."""
    from leadline.progress import say
    from leadline.runs.tracking.wandb.sync import OUTCOMES, Wish, sync, sync_study

    wish = Wish(
        runs_dir=chosen.runs,
        study=chosen.study,
        project=chosen.project,
        entity=chosen.entity,
        offline=chosen.offline,
        dry_run=chosen.dry_run,
    )
    counted = sync(wish)
    if wish.study is not None:
        from leadline.papers.boiarsky.reference import PublishedReference
        from leadline.report import write_report

        study = wish.study
        outcome = sync_study(
            wish,
            lambda place: write_report(
                wish.runs_dir, place, [study], reference=PublishedReference()
            ),
        )
        say(f"summary of {wish.study}: {outcome}")
        counted[outcome] += 1
    print(", ".join(f"{counted[name]} {name}" for name in OUTCOMES if counted[name]) or "no runs")
    return 1 if counted["failed"] else 0
