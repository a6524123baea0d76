"""`leadline sync` and `leadline import-wandb`: runs to wandb and from it."""

from __future__ import annotations

import argparse
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
    print(
        ", ".join(f"{counted[name]} {name}" for name in upload.OUTCOMES if counted[name])
        or "no runs"
    )
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
    print(
        ", ".join(f"{counted[name]} {name}" for name in download.OUTCOMES if counted[name])
        or "no runs"
    )
    return 0


def added_up(counted: Mapping[str, int], outcomes: Sequence[str]) -> str:
    """Say how many runs came out how."""
    return ", ".join(f"{counted[name]} {name}" for name in outcomes if counted[name]) or "no runs"
