"""How long a run will take and how much memory: from runs that were made, or from a short probe.

The work of a run is counted in cells that pass through the model: each training cell once an
epoch, and a third of that for a cell that is only predicted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from leadline.config import RunConfig, science
from leadline.config.tasks import TASKS
from leadline.errors import UserError
from leadline.models import learns_by_epochs
from leadline.runs import record
from leadline.runs.identity import resolved
from leadline.runs.record import State
from leadline.runs.records import read_settings
from leadline.studies.naming import Run

# A prediction has no backward pass.
SHARE_OF_PREDICTION = 1 / 3
# Settings that say where weights come from: they change what is computed, not how long it takes.
ORIGINS = ("pretrained", "gene2vec", "allow_missing", "folder")
# Of each model, the latest records are enough to know its speed.
MOST_RECORDS = 40


class Basis(StrEnum):
    """What an estimate rests on."""

    MEASURED = "same model"
    SCALED = "other size"
    PROBE = "probe"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds on the machine that was measured, and MiB at the peak; None where nothing tells."""

    basis: Basis
    seconds: float | None = None
    memory_mib: float | None = None
    gpu_memory_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a finished run, or a probe, took."""

    task: str
    model: Mapping[str, Any]
    genes: int
    work: float
    seconds: float
    memory_mib: float
    gpu_memory_mib: float | None = None
    basis: Basis = Basis.MEASURED


@dataclass(slots=True)
class Estimator:
    """Past runs, by model."""

    past: list[Past] = field(default_factory=list)

    def of(self, run: Run) -> Estimate:
        """Estimate a run from the past run that is most like it."""
        if run.name is None:
            return Estimate(basis=Basis.UNKNOWN)
        config = resolved(run.config)
        known = [
            past
            for past in self.past
            if past.task == config.task and past.model["name"] == config.model.name
        ]
        own = shape(config)
        alike = [
            past
            for past in known
            if past.genes == run.name.genes
            and all(past.model.get(key) == value for key, value in own.items())
        ]
        if not known:
            return Estimate(basis=Basis.UNKNOWN)
        work = work_of(config, run.name.cells)
        nearest = min(alike or known, key=lambda past: max(past.work, work) / min(past.work, work))
        factor = work / nearest.work * (1 if alike else run.name.genes / nearest.genes)
        return Estimate(
            basis=nearest.basis if alike else Basis.SCALED,
            seconds=nearest.seconds * factor,
            memory_mib=nearest.memory_mib,
            gpu_memory_mib=nearest.gpu_memory_mib,
        )


def shape(config: RunConfig) -> dict[str, Any]:
    """Give the settings of a model that decide how long it takes."""
    return without_origins(science(config.model))


def without_origins(model: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where weights come from."""
    return {key: value for key, value in model.items() if key not in ORIGINS}


def work_of(config: RunConfig, cells: Mapping[str, int]) -> float:
    """Count the cells that pass through the model; at least one."""
    predicted = cells["test"] + cells["val"]
    if not learns_by_epochs(config.model):
        return max(1.0, cells["train"] + SHARE_OF_PREDICTION * cells["test"])
    row = TASKS[config.task]
    corpus = cells["train"] + (cells["unlabelled"] if row.trains_on_unlabelled else 0)
    an_epoch = corpus + SHARE_OF_PREDICTION * cells["val"]
    return max(1.0, config.train.epochs * an_epoch + SHARE_OF_PREDICTION * predicted)


def fit_estimator(runs_dir: Path, runs: Iterable[Run]) -> Estimator:
    """Read what the finished runs of those models took that a plan needs."""
    wanted = {run.config.model.name: type(run.config.model) for run in runs}
    counted = dict.fromkeys(wanted, 0)
    past = []
    done = sorted(runs_dir.glob(f"*/{record.DONE}"), key=lambda path: -path.lstat().st_mtime)
    for path in done:
        if record.state(path.parent) is not State.DONE:
            continue
        facts = record.read_facts(path.parent)
        model = str(facts.get("model"))
        if counted.get(model, MOST_RECORDS) >= MOST_RECORDS:
            continue
        counted[model] += 1
        past.append(remember(path.parent, facts))
    return Estimator([item for item in past if item is not None])


def remember(folder: Path, facts: Mapping[str, Any]) -> Past | None:
    """Read what one finished run took; None if its record does not tell."""
    try:
        stored = read_settings(folder)
        cost, cells = facts["cost"], facts["split"]["cells"]
        epochs = stored["train"]["epochs"]
        baseline = "best_epoch" not in facts["fit"]
        predicted = SHARE_OF_PREDICTION * (cells["test"] + (0 if baseline else cells["val"]))
        row = TASKS[facts.get("task", "classify")]
        corpus = cells["train"] + (cells["unlabelled"] if row.trains_on_unlabelled else 0)
        passes = corpus if baseline else epochs * (corpus + SHARE_OF_PREDICTION * cells["val"])
        return Past(
            task=facts.get("task", "classify"),
            model=without_origins(stored["model"]),
            genes=facts["data"]["genes"],
            work=max(1.0, passes + predicted),
            seconds=cost["wall_seconds"],
            memory_mib=cost["peak_memory_mib"],
            gpu_memory_mib=cost.get("peak_gpu_memory_mib"),
        )
    except (KeyError, TypeError, UserError):
        return None


def probe(estimator: Estimator, runs: Sequence[Run]) -> None:
    """Measure ten steps of each kind of run that nothing is known of, in a process of its own."""
    for run in runs:
        if run.name is None or run.state() is State.DONE or not TASKS[run.config.task].trains:
            continue
        if estimator.of(run).basis in (Basis.MEASURED, Basis.PROBE):
            continue
        words = [word for word in run.words if not word.startswith("model.pretrained=")]
        called = [sys.executable, "-m", "leadline.studies.time_steps", *words]
        answer = subprocess.run(called, capture_output=True, text=True)
        if answer.returncode == 0:
            told = json.loads(answer.stdout.splitlines()[-1])
            config = resolved(run.config)
            estimator.past.append(
                Past(
                    task=config.task,
                    model=shape(config),
                    genes=run.name.genes,
                    work=work_of(config, run.name.cells),
                    seconds=told["fixed"] + told["per_cell"] * work_of(config, run.name.cells),
                    memory_mib=told["memory_mib"],
                    gpu_memory_mib=told["gpu_memory_mib"],
                    basis=Basis.PROBE,
                )
            )
