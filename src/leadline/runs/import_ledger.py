"""A table of runs made elsewhere → records and a study, so that they get our statistics.

One row is one run: its arm, its seed, its metrics, and any other columns, which are factors. A
factor that has one value in each arm is what arms differ in, and an arm may differ from the
reference in one; a factor that varies within arms is a choice, and the study is a multiverse.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline import __version__, files
from leadline.errors import UserError, nearest
from leadline.runs import record
from leadline.runs.record import State, make_folder, open_record, state
from leadline.runs.records import STUDIES
from leadline.stats import metrics
from leadline.stats.universes import TAGS

# Columns that are no factors: where a run belongs, with what stands there if there is no column.
FIELDS: dict[str, Any] = {
    "arm": None, "seed": None, "dataset": "unknown", "model": "unknown", "fraction": 1.0,
}  # fmt: skip
# Columns that wandb writes into every export, lower case, and how it may call the arm.
OF_WANDB = {
    "id", "name", "state", "notes", "user", "tags", "created", "runtime", "end time", "hostname",
    "sweep", "group", "job type", "gpu count", "gpu type", "command", "commit", "github", "path",
    "_step", "_runtime", "_timestamp", "_wandb", "host",
}  # fmt: skip
ARM_IN_WANDB = ("arm", "Job Type", "job_type", "Group")
SHARE = re.compile(r"accuracy|.*(f1|precision|recall|accuracy)$")
WARNING = "imported from a ledger: its cells, split and predictions are unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerChoice:
    """Which column is taken for what; a column named `=VALUE` is the same value for all runs."""

    metrics: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    reference: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRun:
    """One row: a run with its factors and its scores."""

    arm: str
    seed: int
    dataset: str
    model: str
    fraction: float
    factors: Mapping[str, str]
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLedger:
    """What became of a ledger: its study, its runs, its choices, and arms that are flagged."""

    study: str
    runs: int
    skipped: int
    arms: tuple[str, ...]
    reference: str
    choices: tuple[str, ...]
    several_factors: Mapping[str, tuple[str, ...]]


def import_ledger(path: Path, runs_dir: Path, choice: LedgerChoice) -> ImportedLedger:
    """Write a record of each run of a ledger, and the study that they make.

    Raises
    ------
    UserError
        When a column is missing or wrong, or two rows are one run.
    """
    rows, skipped = read_rows(path)
    runs = read_ledger(rows, choice)
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", choice.name or path.stem) or "ledger"
    arms = list(dict.fromkeys(run.arm for run in runs))
    reference = choice.reference or ("reference" if "reference" in arms else arms[0])
    if reference not in arms:
        raise UserError(
            "--reference must be an arm of the ledger",
            got=repr(reference),
            remedy=nearest(reference, arms),
        )
    own, varying = factors_of(runs)
    require_replicates(runs, varying)
    require_tags(choice.tags, varying)
    several = {
        arm: tuple(factors)
        for arm in arms
        if len(factors := [f for f, known in own.items() if known[arm] != known[reference]]) > 1
    }
    written = [write(run, name, runs_dir) for run in runs]
    entries = [
        {"run_id": run_id, "arm": run.arm, "overrides": [f"seed={run.seed}"]}
        | ({"choices": {key: run.factors.get(key, "") for key in varying}} if varying else {})
        for run_id, run in zip(written, runs, strict=True)
    ]
    content: dict[str, Any] = {
        "name": name,
        "question": "",
        "artefacts": [],
        "compare": {
            "family": name,
            "tests": ["paired_t", "welch"],
            "metrics": list(runs[0].scores),
            "equivalence_margin": 0.01,
            # Without predictions nothing can be said of fresh cells.
            "cells": "fixed",
        },
        "published": None,
        "reference": reference,
        "arms": {
            arm: {
                "overrides": {},
                "against": None if arm == reference else reference,
                "factors": [f for f, known in own.items() if known[arm] != known[reference]],
            }
            for arm in arms
        },
        "choices": {"tags": dict(choice.tags)},
        "several_factors": {arm: list(factors) for arm, factors in several.items()},
        "runs": entries,
    }
    folder = runs_dir / STUDIES
    make_folder(folder, runs_dir)
    files.write_json(folder / f"{name}.json", content)
    return ImportedLedger(
        study=name,
        runs=len(runs),
        skipped=skipped,
        arms=tuple(arms),
        reference=reference,
        choices=tuple(varying),
        several_factors=several,
    )


def read_rows(path: Path) -> tuple[list[dict[str, str]], int]:
    """Read a CSV file; of an export of wandb, the finished runs. Give the count of others too."""
    if not path.is_file():
        raise UserError("a ledger is a CSV file", got=f"no file {path}", remedy="name one")
    with path.open(newline="", encoding="utf-8-sig") as opened:
        try:
            rows = [dict(row) for row in csv.DictReader(opened, strict=True)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(
                "a ledger must be CSV with a header, in UTF-8",
                got=f"{path} ({error})",
                remedy="export it as CSV again",
            ) from error
    bad = next((at for at, row in enumerate(rows, 2) if None in row or None in row.values()), None)
    if bad or not rows:
        raise UserError(
            "each row of a ledger must have a cell for each column",
            got=f"row {bad}, which has not" if bad else f"no rows in {path}",
            remedy="export it as CSV again",
        )
    if is_wandb(rows[0]):
        done = [row for row in rows if row["State"] == "finished"]
        return done, len(rows) - len(done)
    return rows, 0


def is_wandb(row: Mapping[str, str]) -> bool:
    """Tell an export of wandb by the columns that each has."""
    return {"Name", "State"} <= set(row)


def read_ledger(rows: Sequence[Mapping[str, str]], choice: LedgerChoice) -> list[LedgerRun]:
    """Take rows as runs; refuse two rows that are one run."""
    if not rows:
        raise UserError(
            "a ledger needs finished runs", got="none", remedy="export runs whose state is finished"
        )
    columns = list(rows[0])
    exported = is_wandb(rows[0])
    places = {name: _place(name, columns, choice, exported=exported) for name in FIELDS}
    wanted = dict(choice.metrics) or {name: name for name in columns if name in metrics.ROWS}
    for name, column in wanted.items():
        if column.removesuffix("%") not in columns:
            raise UserError(
                f"the metric {name} must be a column",
                got=repr(column.removesuffix("%")),
                remedy=nearest(column.removesuffix("%"), columns),
            )
    if not wanted:
        raise UserError(
            "a ledger needs a metric",
            got=f"the columns {', '.join(columns)}",
            remedy="say which it is: --metric accuracy=COLUMN, COLUMN% if it is in percent",
        )
    taken = {*places.values(), *(each.removesuffix("%") for each in wanted.values())}
    factors = [
        column
        for column in columns
        if column not in taken
        and column not in choice.ignored
        and not (exported and column.lower() in OF_WANDB)
    ]
    found, seen = [], set()
    for at, row in enumerate(rows, start=2):
        said = {name: _field(name, place, row, at) for name, place in places.items()}
        run = LedgerRun(
            **said,
            factors={name: row[name] for name in factors},
            scores={name: _score(name, column, row, at) for name, column in wanted.items()},
        )
        key = (*said.values(), *run.factors.values())
        if key in seen:
            raise UserError(
                "a ledger has one row for each arm, seed and combination of factors",
                got=f"row {at}, which repeats {run.arm} with seed {run.seed}",
                remedy="leave one of them out: a run counted twice is not a replicate",
            )
        seen.add(key)
        found.append(run)
    return found


def _place(name: str, columns: Sequence[str], choice: LedgerChoice, *, exported: bool) -> str:
    """Say which column holds a field, or which value (`=VALUE`) all runs have."""
    asked = choice.fields.get(name)
    if asked is not None:
        if asked.startswith("=") or asked in columns:
            return asked
        raise UserError(
            f"--field {name} must name a column", got=repr(asked), remedy=nearest(asked, columns)
        )
    for column in ARM_IN_WANDB if exported and name == "arm" else (name, f"config.{name}"):
        if column in columns:
            return column
    if FIELDS[name] is None:
        raise UserError(
            f"a ledger must tell the {name} of each run",
            got=f"the columns {', '.join(columns)}",
            remedy=f"say which it is: --field {name}=COLUMN",
        )
    return f"={FIELDS[name]}"


def _field(name: str, place: str, row: Mapping[str, str], at: int) -> Any:
    text = place[1:] if place.startswith("=") else row[place].strip()
    number = _number(text)
    if name == "seed" and not (number.is_integer() and number >= 0):
        rule = "a seed must be a whole number"
    elif name == "fraction" and not 0 < number <= 1:
        rule = "a fraction must be a share in (0, 1]"
    elif not text:
        rule = f"each run must tell its {name}"
    else:
        return {"seed": int, "fraction": float}.get(name, lambda _: text)(
            number if name in ("seed", "fraction") else 0
        )
    raise UserError(rule, got=f"{text!r} in row {at}", remedy=f"use --field {name}=COLUMN")


def _score(name: str, column: str, row: Mapping[str, str], at: int) -> float:
    percent = column.endswith("%")
    text = row[column.removesuffix("%")].strip()
    value = _number(text) / (100 if percent else 1)
    if not math.isfinite(value):
        raise UserError(
            f"{name} must be a number in every row",
            got=f"{text!r} in row {at}",
            remedy="leave runs without a score out, and report how many",
        )
    if SHARE.fullmatch(name) and not 0 <= value <= 1:
        raise UserError(
            f"{name} must lie in [0, 1]",
            got=f"{text} in row {at}",
            remedy=f"if these are percent write --metric '{name}={column.removesuffix('%')}%'",
        )
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def factors_of(runs: Sequence[LedgerRun]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Part factors that tell arms apart (by arm) from those that vary within an arm (choices)."""
    own: dict[str, dict[str, str]] = {}
    varying = []
    for name in runs[0].factors:
        by_arm: dict[str, set[str]] = {}
        for run in runs:
            by_arm.setdefault(run.arm, set()).add(run.factors[name])
        if any(len(known) > 1 for known in by_arm.values()):
            varying.append(name)
        else:
            own[name] = {arm: next(iter(known)) for arm, known in by_arm.items()}
    return own, varying


def require_replicates(runs: Sequence[LedgerRun], varying: Sequence[str]) -> None:
    """Refuse a column that is no choice: one that has another value in every run."""
    seeds: dict[tuple[str, ...], set[int]] = {}
    for run in runs:
        key = (run.arm, *(run.factors[name] for name in varying))
        seeds.setdefault(key, set()).add(run.seed)
    if varying and max(map(len, seeds.values())) < 2:
        most = max(varying, key=lambda name: len({run.factors[name] for run in runs}))
        raise UserError(
            "a choice must be shared by runs of several seeds",
            got=f"the column {most!r}, which has another value in nearly every run",
            remedy=f"if it is no choice, leave it out: --ignore {most!r}",
        )


def require_tags(tags: Mapping[str, str], varying: Sequence[str]) -> None:
    """Refuse tags of what is no choice, and words that are no tags."""
    for name, tag in tags.items():
        if name not in varying:
            raise UserError(
                "--tag is about a column that varies within arms",
                got=repr(name),
                remedy=nearest(name, varying),
            )
        if tag not in TAGS:
            words = ", ".join(f"{key} ({said})" for key, said in TAGS.items())
            raise UserError(f"a tag is one of {words}", got=repr(tag), remedy="write --tag NAME=E")


def write(run: LedgerRun, study: str, runs_dir: Path) -> str:
    """Write the record of one run, unless it is there; give its id."""
    what = {
        "ledger": study, "arm": run.arm, "seed": run.seed, "dataset": run.dataset,
        "model": run.model, "fraction": run.fraction, "factors": dict(run.factors),
        "scores": dict(run.scores),
    }  # fmt: skip
    run_id = record.identify(what, f"ledger-{re.sub(r'[^A-Za-z0-9_-]+', '-', run.arm)[:40]}")
    folder = runs_dir / run_id
    if state(folder) is State.DONE:
        return run_id
    with open_record(folder) as kept:
        kept.write_config({"seed": run.seed, "factors": dict(run.factors)})
        kept.write_facts(facts_of(run, run_id, study))
        kept.finish()
    return run_id


def facts_of(run: LedgerRun, run_id: str, study: str) -> dict[str, Any]:
    """Fill a record in, as far as a ledger knows."""
    return {
        "run_id": run_id,
        "study": study,
        "arm": run.arm,
        "dataset": run.dataset,
        "model": run.model,
        "fraction": run.fraction,
        "seed": run.seed,
        "protocol": {"name": "imported"},
        "selected": {"best_epoch": None, "by": None, "selection": "unknown"},
        "fit": {},
        "data": {
            "fingerprint": "unknown", "cells": 0, "genes": 0, "scale": "unknown", "classes": [],
            "notes": [],
        },
        "split": {"fingerprint": f"unknown, seed {run.seed}", "cells": {}},
        "metrics": {"test": dict(run.scores)},
        "per_class": {},
        "warnings": [WARNING],
        "provenance": {
            "leadline": __version__, "git_commit": None, "git_dirty": None, "packages": {},
            "host": "unknown", "device": "unknown", "world_size": 1,
        },
        "cost": {"wall_seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_mib": 0.0},
        "imported": {"from": "ledger", "name": study},
    }  # fmt: skip
