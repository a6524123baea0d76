"""`leadline import-ledger`."""

from __future__ import annotations

import argparse
import sys


def call(chosen: argparse.Namespace) -> int:
    """Import a table of runs, flag its arms; the last line tells what next."""
    from leadline.errors import UserError, nearest
    from leadline.runs.import_ledger import FIELDS, LedgerChoice, import_ledger, named_values

    fields = named_values(chosen.field, "--field")
    for name in fields:
        if name not in FIELDS:
            raise UserError(
                f"--field names one of {', '.join(FIELDS)}",
                got=repr(name),
                remedy=nearest(name, FIELDS),
            )
    choice = LedgerChoice(
        metrics=named_values(chosen.metric, "--metric"),
        fields=fields,
        tags=named_values(chosen.tag, "--tag"),
        ignored=tuple(chosen.ignore),
        reference=chosen.reference,
        name=chosen.name,
    )
    found = import_ledger(chosen.file, chosen.runs, choice)
    for arm, factors in found.several_factors.items():
        print(
            f"{arm} differs from {found.reference} in {', '.join(factors)}: its difference cannot "
            "be put down to one of them",
            file=sys.stderr,
        )
    skipped = f", {found.skipped} not finished" if found.skipped else ""
    choices = f"; choices: {', '.join(found.choices)}" if found.choices else ""
    print(f"{found.runs} runs of {', '.join(found.arms)}{skipped}{choices}")
    print(f"leadline report {found.study} --runs {chosen.runs} --out report")
    return 0
