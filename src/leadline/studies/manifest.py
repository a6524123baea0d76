"""<runs_dir>/studies/<name>.json: which runs a study consists of, for whoever reports on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadline import files
from leadline.runs import record
from leadline.runs.record import State, make_folder
from leadline.runs.records import STUDIES
from leadline.studies.expand import Plan
from leadline.studies.naming import Run
from leadline.studies.stages import StopRule


def write(plan: Plan, runs: Sequence[Run], runs_dir: Path, stop: StopRule | None = None) -> Path:
    """Write the manifest of a study; an earlier one is replaced."""
    path = path_of(plan.study.name, runs_dir)
    make_folder(path.parent, runs_dir)
    told = content(plan, runs, stop)
    if "looks" not in told:
        before = seeds_before(path, told)
        told |= {"seeds_before": before} if before else {}
    files.write_json(path, told)
    return path


def read(path: Path) -> dict[str, Any]:
    """Read an earlier manifest; what is not there, or no manifest, holds nothing."""
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def path_of(name: str, runs_dir: Path) -> Path:
    """Say where the manifest of a study lies."""
    return runs_dir / STUDIES / f"{name}.json"


def seeds_before(path: Path, told: Mapping[str, Any]) -> list[int]:
    """List with how many seeds a study was done before that now has more.

    It may have been looked at then, which its tests are not corrected for. One seed decides
    nothing.
    """
    earlier = read(path)
    runs = earlier.get("runs", [])
    states = {record.state(path.parents[1] / str(run["run_id"])) for run in runs}
    known = [*earlier.get("seeds_before", [])]
    if states == {State.DONE}:
        known.append(seeds_in(earlier))
    return sorted({seeds for seeds in known if 1 < seeds < seeds_in(told)})


def seeds_in(told: Mapping[str, Any]) -> int:
    """Count the seeds of a study's runs."""
    return len({word for run in told["runs"] for word in run["overrides"] if word[:5] == "seed="})


def content(plan: Plan, runs: Sequence[Run], stop: StopRule | None = None) -> dict[str, Any]:
    """Say what the study asks, and which runs answer it.

    Seeds are counted where the study declares looks or is stopped by a rule: `looks` and `until`
    then say how many seeds are looked at and by which rule. A run that several universes share
    stands once for each, with the value of each switch in `choices`.
    """
    study = plan.study
    looks = stop.looks if stop is not None else study.looks
    made = [run for run in runs if run.name is not None]
    return {
        "name": study.name,
        "question": study.question,
        "artefacts": list(study.artefacts),
        "compare": dict(study.compare),
        "published": study.published,
        **({"looks": list(looks)} if looks else {}),
        **({"until": stop.rule} if stop is not None else {}),
        **({"choices": study.choices.told()} if study.choices is not None else {}),
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
            {"run_id": run.run_id, "arm": order.arm, "overrides": list(run.words)}
            | ({"at": order.point, "nth": order.nth, "seeds": order.seeds} if looks else {})
            | ({"choices": dict(order.choices)} if study.choices is not None else {})
            for run in made
            for order in run.orders
        ],
        "impossible": [
            {"arm": run.label, "overrides": list(run.words), "reason": run.problem}
            for run in runs
            if run.name is None
        ],
    }
