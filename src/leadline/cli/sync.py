"""`leadline sync`."""

from __future__ import annotations

import argparse


def call(chosen: argparse.Namespace) -> int:
    """Upload; 1 if anything failed."""
    from leadline.progress import say
    from leadline.runs.tracking.wandb.sync import OUTCOMES, SyncRequest, sync, sync_study

    wish = SyncRequest(
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
        from leadline.report.write import write_report

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
