"""`leadline plan`."""

from __future__ import annotations

import argparse

SUMMARY = "list the runs of a study, what is done, and what the rest will take"
HELP = """\
Takes the words of leadline ablate and runs nothing, so that they answer "what if". Times come from
records in runs_dir, of this or another study; --probe measures ten steps of each kind of run that
was never made. Times are those of the machine that was measured.

example: leadline plan quickstart seed=1,2 hydra/launcher=joblib hydra.launcher.n_jobs=2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("name", metavar="NAME|FILE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--probe", action="store_true", help="measure what no record tells")
    price = "what an hour of one device costs, in any currency"
    parser.add_argument("--price", type=float, default=0.0, metavar="P", help=price)
    watch = "show a live table of what is done, running and failed"
    form.add_argument("--watch", action="store_true", help=watch)


def call(chosen: argparse.Namespace) -> int:
    """Print the plan."""
    from leadline.cli import plan as planning
    from leadline.cli.ablate import planned, understand
    from leadline.errors import UserError

    if not 0 <= chosen.price < float("inf"):
        raise UserError("--price must be 0 or more", got=f"{chosen.price:g}", remedy="leave it out")
    asked = understand(chosen.overrides)
    plan, runs = planned(chosen.name, asked.overrides)
    if chosen.watch:
        from leadline.cli.live_table import watch

        watch(plan, runs)
        return 0
    options = {"probed": chosen.probe, "price": chosen.price}
    if chosen.json:
        print(planning.as_json(plan, runs, asked.launcher, **options))
    else:
        planning.show(plan, runs, asked.launcher, **options)
    return 0
