"""`leadline import-wandb`."""

from __future__ import annotations

import argparse


def call(chosen: argparse.Namespace) -> int:
    """Import; the last line counts."""
    from leadline.runs.tracking.wandb.import_runs import (
        OUTCOMES,
        FieldMapping,
        fields,
        import_runs,
        pairs,
    )

    choice = FieldMapping(
        metrics=pairs(chosen.metric, "--metric"),
        fields=fields(chosen.field),
        epoch=chosen.epoch,
    )
    counted = import_runs(chosen.source, chosen.runs, choice, replace=chosen.replace)
    print(", ".join(f"{counted[name]} {name}" for name in OUTCOMES if counted[name]) or "no runs")
    return 0
