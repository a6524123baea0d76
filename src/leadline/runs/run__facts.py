"""What a record and its log say of a run, its outcome aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from leadline import models
from leadline.config import TRAINING_SWITCHES, resolve
from leadline.data.cells import Cells
from leadline.data.splits.split import Split
from leadline.runs.prepare import Job, arm_of
from leadline.runs.provenance import Stopwatch, provenance
from leadline.runs.record import Predictions
from leadline.stats import metrics


def facts_of_run(job: Job, fit: models.Fit) -> dict[str, Any]:
    """Gather what the record says of the run itself."""
    config, cells = job.config, job.cells
    protocol = asdict(config.protocol)
    if not job.by_epochs:
        protocol = {key: protocol[key] for key in protocol if key not in TRAINING_SWITCHES}
    return {
        "run_id": job.run_id,
        "task": config.task,
        "study": config.study or None,
        "arm": arm_of(config),
        "dataset": config.data.name,
        "model": config.model.name,
        "fraction": config.data.fraction,
        "seed": config.seed,
        "protocol": protocol | {"version": resolve.VERSION},
        "selected": {
            "best_epoch": fit.facts.get("best_epoch"),
            "by": fit.facts.get("selected_by"),
            "selection": config.protocol.selection,
        },
        "fit": {key: value for key, value in fit.facts.items() if key != "execution"},
        "data": {
            "fingerprint": job.data_fingerprint,
            "cells": len(cells),
            "genes": len(cells.genes),
            "scale": str(cells.scale),
            "classes": list(cells.classes),
            "notes": list(cells.notes),
        },
        "split": {"fingerprint": job.split.fingerprint(), "cells": job.split.sizes()},
    }


def costs(fit: models.Fit, watch: Stopwatch) -> dict[str, Any]:
    """Give where, with what and at what cost the run was made; none of it is science."""
    execution = dict(fit.facts.get("execution", {}))
    where = provenance(
        device=execution.pop("device", "cpu"), world_size=execution.pop("world_size", 1)
    )
    return {"provenance": where, "cost": watch.cost() | execution}


def describe(cells: Cells, split: Split) -> str:
    """Say in one line what the run works on."""
    sizes = ", ".join(f"{count:,} {part}" for part, count in split.sizes().items() if count)
    labels = f"{len(cells.classes)} classes" if cells.classes else "no labels"
    return f"{len(cells.genes):,} genes ({cells.scale}), {labels}; {sizes}"


def summary(run_id: str, facts: Mapping[str, Any]) -> str:
    """Say in one line what came of it."""
    test = facts["metrics"]["test"]
    shown = {"accuracy": "accuracy", "macro_f1": "macro F1"}
    if facts["task"] == "pretrain":
        shown = {name: name.replace("_", " ") for name in test}
    numbers = ", ".join(f"{words} {test[name]:.4f}" for name, words in shown.items())
    line = f"{run_id} done: {numbers}"
    return "\n".join([line, *(f"  warning: {text}" for text in facts["warnings"])])


def warnings_of(
    job: Job, fit: models.Fit, scores: Mapping[str, float], said: Predictions | None
) -> list[str]:
    """Gather what a careful reader must know; `said` is None where no labels are predicted."""
    warnings = [*job.split.warnings, *fit.warnings]
    if said is None:
        return [*warnings, *metrics.no_better_than_rules(scores)]
    if job.by_epochs and job.config.protocol.class_weights == "whole":
        warnings.append("class weights count the reported cells too, as in the paper's code")
    # To call every cell the same is what the majority control is for.
    if metrics.collapsed(said.predicted_C) and job.config.model.name != "majority":
        called = job.cells.classes[said.predicted_C[0]]
        warnings.append(f"collapsed: every cell is called {called!r}")
    return warnings
