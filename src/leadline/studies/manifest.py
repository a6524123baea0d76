"""<runs_dir>/studies/<name>.json: which runs a study consists of, for whoever reports on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leadline import files
from leadline.runs.record import make_folder
from leadline.runs.records import STUDIES
from leadline.studies.expand import Plan
from leadline.studies.naming import Run


def write(plan: Plan, runs: Sequence[Run], runs_dir: Path) -> Path:
    """Write the manifest of a study; an earlier one is replaced."""
    path = runs_dir / STUDIES / f"{plan.study.name}.json"
    make_folder(path.parent, runs_dir)
    files.write_json(path, content(plan, runs))
    return path


def content(plan: Plan, runs: Sequence[Run]) -> dict[str, Any]:
    """Say what the study asks, and which runs answer it."""
    study = plan.study
    made = [run for run in runs if run.name is not None]
    return {
        "name": study.name,
        "question": study.question,
        "artefacts": list(study.artefacts),
        "compare": dict(study.compare),
        "published": study.published,
        "reference": study.reference,
        "arms": {
            arm.name: {
                "overrides": dict(arm.settings),
                "against": arm.against,
                "factors": list(plan.factors.get(arm.name, ())),
                "also": dict(arm.also),
            }
            | ({"title": arm.title} if arm.title else {})
            for arm in study.arms.values()
        },
        "pretraining": [
            {"name": run.label.removeprefix("pretraining "), "run_id": run.run_id}
            | {"overrides": list(run.words)}
            for run in made
            if not run.arms
        ],
        "runs": [
            {"run_id": run.run_id, "arm": arm, "overrides": list(run.words)}
            for run in made
            for arm in run.arms
        ],
        "impossible": [
            {"arm": run.label, "overrides": list(run.words), "reason": run.problem}
            for run in runs
            if run.name is None
        ],
    }
