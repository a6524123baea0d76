"""`leadline ablate`."""

from __future__ import annotations

import argparse

SUMMARY = "make what is missing of a study"
HELP = """\
NAME is one of ablations/, or the path of a file like them. What is done is not made again, failures
stop nobody else, and the same command goes on after any interruption. Words change every run, as in
leadline run; where the study varies a setting they choose its values (seed=1,2). The sweep itself:
  hydra/launcher=basic|joblib|ray|submitit_local|submitit_slurm  hydra.launcher.n_jobs=2
  retries=1     how often a run is tried again whose worker died or ran out of memory
Exit code 0 if every run is done, 1 if some failed or are left, 75 after SIGTERM.

example: leadline ablate quickstart hydra/launcher=joblib hydra.launcher.n_jobs=2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("name", metavar="NAME|FILE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--watch", action="store_true", help="show a live table while it runs")


def call(chosen: argparse.Namespace) -> int:
    """Make the runs."""
    from leadline.cli.ablate import ablate

    return ablate(chosen.name, chosen.overrides, watched=chosen.watch)
