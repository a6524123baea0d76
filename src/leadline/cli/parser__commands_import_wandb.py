"""`leadline import-wandb`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "make records of runs that wandb knows, for their statistics"
HELP = """\
SOURCE is a project (entity/project) or a folder with wandb's offline runs. --metric says which key
of wandb's summary holds which metric: NAME=KEY, or NAME=KEY% for percent; NAME is accuracy,
macro_f1, … of the test cells, or PART/NAME. --field says where study, arm, dataset, model,
fraction and seed stand: group, job_type, name, id, config.KEY, or =VALUE for all runs alike.
Runs that did not finish are left out. Records made so have no predictions.

example: leadline import-wandb wandb --metric accuracy=test_acc --field dataset==zheng68k
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--metric", action="append", required=True, metavar="NAME=KEY")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=WHERE")
    epoch = "the key of the history that counts epochs (wandb's step unless told)"
    parser.add_argument("--epoch", default="_step", metavar="KEY", help=epoch)
    again = "replace what was imported with other options"
    parser.add_argument("--replace", action="store_true", help=again)


def call(chosen: argparse.Namespace) -> int:
    """Import; the last line counts."""
    from leadline.runs.tracking.wandb.import_runs import (
        OUTCOMES,
        Choice,
        fields,
        import_runs,
        pairs,
    )

    choice = Choice(
        metrics=pairs(chosen.metric, "--metric"),
        fields=fields(chosen.field),
        epoch=chosen.epoch,
    )
    counted = import_runs(chosen.source, chosen.runs, choice, replace=chosen.replace)
    print(", ".join(f"{counted[name]} {name}" for name in OUTCOMES if counted[name]) or "no runs")
    return 0
