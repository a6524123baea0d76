"""`leadline sync`, `import-wandb`, `import-ledger`: runs told elsewhere, or made there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence


def sync(chosen: argparse.Namespace) -> int:
    """Upload; 1 if anything failed."""
    from leadline.progress import say
    from leadline.runs.tracking.wandb import sync as upload

    wish = upload.SyncRequest(
        runs_dir=chosen.runs,
        study=chosen.study,
        project=chosen.project,
        entity=chosen.entity,
        offline=chosen.offline,
        dry_run=chosen.dry_run,
    )
    counted = upload.sync(wish)
    if wish.study is not None:
        from leadline.papers.boiarsky.reference import PublishedReference
        from leadline.report.write import write_report

        study = wish.study
        outcome = upload.sync_study(
            wish,
            lambda place: write_report(
                wish.runs_dir, place, [study], reference=PublishedReference()
            ),
        )
        say(f"summary of {wish.study}: {outcome}")
        counted[outcome] += 1
    print(added_up(counted, upload.OUTCOMES))
    return 1 if counted["failed"] else 0


def import_runs(chosen: argparse.Namespace) -> int:
    """Import; the last line counts."""
    from leadline.runs.tracking.wandb import import_runs as download

    choice = download.FieldMapping(
        metrics=download.pairs(chosen.metric, "--metric"),
        fields=download.fields(chosen.field),
        epoch=chosen.epoch,
    )
    counted = download.import_runs(chosen.source, chosen.runs, choice, replace=chosen.replace)
    print(added_up(counted, download.OUTCOMES))
    return 0


def added_up(counted: Mapping[str, int], outcomes: Sequence[str]) -> str:
    """Say how many runs came out how."""
    return ", ".join(f"{counted[name]} {name}" for name in outcomes if counted[name]) or "no runs"


def import_table(chosen: argparse.Namespace) -> int:
    """Import a table of runs, flag its arms; the last line tells what next."""
    from leadline.runs.import_ledger import FIELDS, LedgerChoice, import_ledger
    from leadline.runs.tracking.wandb.import_runs import fields, pairs

    choice = LedgerChoice(
        metrics=pairs(chosen.metric, "--metric"),
        fields=fields(chosen.field, FIELDS),
        tags=pairs(chosen.tag, "--tag"),
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
