"""Runs that wandb knows → records, so that results made elsewhere get our statistics.

What wandb does not know (cells, splits, predictions) a record made here does not have: it is marked
as imported, with the options that say which of wandb's names was taken for what.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from leadline import __version__
from leadline.errors import UserError, nearest
from leadline.progress import say
from leadline.runs import damage, record
from leadline.runs.record import State, open_record, state
from leadline.runs.tracking.wandb import offline, sdk
from leadline.runs.tracking.wandb.offline import WandbRun


def of(source: str) -> Iterator[WandbRun]:
    """Give the runs of a folder, or of a project written entity/project, in the order of names."""
    if Path(source).exists():
        yield from merged(offline.find_offline_runs(Path(source)))
    elif source.count("/") == 1 and not source.startswith((".", "/", "~")):
        yield from on_server(source)
    else:
        raise UserError(
            "runs are imported from a folder or from entity/project",
            got=repr(source),
            remedy="name the folder wandb/ that wandb made, or a project such as lab/annotation",
        )


def merged(paths: list[Path]) -> Iterator[WandbRun]:
    """Put together what several attempts of a run wrote: the later one counts."""
    runs: dict[tuple[str, str, str], WandbRun] = {}
    for path in paths:
        found = offline.read(path)
        key = (found.run_id, found.project, found.entity)
        before = runs.get(key)
        if before is not None:
            rows = {row["_step"]: row for row in before.history}
            rows |= {row["_step"]: row for row in found.history}
            found.history = [rows[step] for step in sorted(rows)]
            found.config = before.config | found.config
            found.summary = before.summary | found.summary
        runs[key] = found
    yield from (runs[name] for name in sorted(runs))


def on_server(path: str) -> Iterator[WandbRun]:
    """Read the runs of a project through wandb's API."""
    entity, _, project = path.partition("/")
    if not sdk.has_key():
        raise UserError(
            "a project is read by somebody whom wandb knows",
            got=f"no key for {sdk.base_url()}",
            remedy="run wandb login, or name a folder with offline runs",
        )
    try:
        # wandb's own errors have no class in common.
        known = sdk.sdk().Api().runs(path, order="+created_at", lazy=False)
        runs = [of_server(found, entity, project) for found in known]
    except Exception as error:
        raise UserError(
            "the runs of a project must be readable",
            got=f"{path!r} ({first_line(error)})",
            remedy="check its name, your key and the network",
        ) from error
    yield from runs


def of_server(found: Any, entity: str, project: str) -> WandbRun:
    """Take what the API tells of a run."""
    return WandbRun(
        run_id=found.id,
        project=project,
        entity=entity,
        group=found.group or "",
        job_type=found.job_type or "",
        name=found.name or "",
        tags=tuple(found.tags),
        config=dict(found.config),
        summary=dict(found.summary),
        history=list(found.scan_history()),
        finished=found.state == "finished",
        source=found.url,
    )


def first_line(error: Exception) -> str:
    """Give the first line of what went wrong."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# Fields of a record → where they stand unless --field says otherwise.
FIELDS = {
    "study": "group",
    "arm": "job_type",
    "dataset": "config.dataset",
    "model": "config.model",
    "fraction": "",
    "seed": "config.seed",
}
OPTIONAL = {"study": None, "fraction": 1.0}
SHARES = re.compile(r"accuracy|.*(f1|precision|recall|accuracy)$")
WARNING = "imported from wandb: its cells, split and predictions are unknown"
OUTCOMES = ("imported", "imported before", "not finished", "without the metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMapping:
    """Which of wandb's names is taken for what."""

    metrics: Mapping[str, str]
    fields: Mapping[str, str] = field(default_factory=dict)
    epoch: str = "_step"


def import_runs(
    source: str, runs_dir: Path, choice: FieldMapping, *, replace: bool = False
) -> Counter[str]:
    """Make a record of each finished run of a project (entity/project) or of offline folders.

    Raises
    ------
    UserError
        When a run lacks a field, when no run has the metrics, or when a run was imported before
        with other options.
    """
    counted: Counter[str] = Counter()
    numbers: set[str] = set()
    for run in of(source):
        numbers |= {key for key, value in flat(run.summary).items() if is_number(value)}
        outcome = import_run(run, runs_dir, choice, replace=replace)
        counted[outcome] += 1
        say(f"{run.run_id}: {outcome}")
    if counted["without the metrics"] == counted.total() - counted["not finished"] > 0:
        wanted = ", ".join(choice.metrics.values())
        raise UserError(
            f"the summary of a run must hold {wanted}",
            got="no run that does",
            remedy=nearest(next(iter(choice.metrics.values())), numbers),
        )
    return counted


def import_run(run: WandbRun, runs_dir: Path, choice: FieldMapping, *, replace: bool) -> str:
    """Make the record of one run; say what came of it."""
    if not run.finished:
        return "not finished"
    scores = scores_of(run, choice.metrics)
    if scores is None:
        return "without the metrics"
    facts = facts_of(run, scores, choice)
    folder = runs_dir / facts["run_id"]
    if state(folder) is State.DAMAGED:
        damage.require_usable(folder)
    if state(folder) is State.DONE:
        if record.read_facts(folder) == {"schema_version": record.SCHEMA_VERSION, **facts}:
            return "imported before"
        if not replace:
            raise UserError(
                "a run is imported once",
                got=f"{run.run_id}, which was imported into {folder} with other options or values",
                remedy="use the same options, or replace what was imported with --replace",
            )
    with open_record(folder) as kept:
        (folder / record.DONE).unlink(missing_ok=True)
        kept.write_config(run.config)
        rows = curve(run, choice.epoch)
        if rows:
            kept.write_epochs(rows)
        kept.write_facts(facts)
        kept.finish()
    return "imported"


def scores_of(run: WandbRun, wanted: Mapping[str, str]) -> dict[str, dict[str, float]] | None:
    """Take the metrics as part → metric → value; None where one is missing."""
    known = flat(run.summary)
    parts: dict[str, dict[str, float]] = {}
    for name, key in wanted.items():
        value = known.get(key.removesuffix("%"))
        if not is_number(value):
            return None
        part, _, metric = name.rpartition("/")
        value = value / 100 if key.endswith("%") else value
        if SHARES.fullmatch(metric) and not 0 <= value <= 1:
            raise UserError(
                f"{metric} must lie in [0, 1]",
                got=f"{value:g} in run {run.run_id}",
                remedy=f"if these are percent write --metric '{name}={key}%'",
            )
        parts.setdefault(part or "test", {})[metric] = float(value)
    return parts


def facts_of(
    run: WandbRun, scores: dict[str, dict[str, float]], choice: FieldMapping
) -> dict[str, Any]:
    """Fill a record in, as far as wandb knows."""
    fields = {name: field_of(run, name, choice.fields) for name in FIELDS}
    where = {"entity": run.entity, "project": run.project, "run": run.run_id}
    prefix = f"wandb-{re.sub(r'[^A-Za-z0-9_.-]', '-', run.run_id)[:60]}"
    return {
        "run_id": record.identify({"imported": where}, prefix),
        **fields,
        "protocol": {"name": "imported"},
        "selected": {"best_epoch": None, "by": None, "selection": "unknown"},
        "fit": {},
        "data": {
            "fingerprint": "unknown",
            "cells": 0,
            "genes": 0,
            "scale": "unknown",
            "classes": [],
            "notes": [],
        },
        "split": {"fingerprint": f"unknown, seed {fields['seed']}", "cells": {}},
        "metrics": scores,
        "per_class": {},
        "warnings": [WARNING],
        "provenance": {
            "leadline": __version__,
            "git_commit": None,
            "git_dirty": None,
            "packages": {},
            "host": "unknown",
            "device": "unknown",
            "world_size": 1,
        },
        "cost": {
            "wall_seconds": float(run.summary.get("_runtime") or 0.0),
            "cpu_seconds": 0.0,
            "peak_memory_mib": 0.0,
        },
        "imported": {
            "from": "wandb",
            **where,
            "name": run.name,
            "tags": list(run.tags),
            "metrics": dict(choice.metrics),
            "fields": dict(choice.fields),
        },
    }


def field_of(run: WandbRun, name: str, chosen: Mapping[str, str]) -> Any:
    """Find a field of the record in a run, and give it the right type."""
    where = chosen.get(name, FIELDS[name])
    value = where[1:] if where.startswith("=") else look(run, where)
    if value in (None, ""):
        if name in OPTIONAL:
            return OPTIONAL[name]
        raise UserError(
            f"a run must tell its {name}",
            got=f"nothing at {where} in run {run.run_id}",
            remedy=f"say where it stands: --field {name}=config.KEY, group, job_type, name or id, "
            f"or the same for all: --field {name}==VALUE",
        )
    if name in ("seed", "fraction"):
        return typed(name, value, run)
    return value["name"] if isinstance(value, dict) and "name" in value else str(value)


def typed(name: str, value: Any, run: WandbRun) -> float:
    """Turn a seed into a whole number and a fraction into a share."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    right = number.is_integer() and number >= 0 if name == "seed" else 0 < number <= 1
    if not right:
        kind = "a whole number" if name == "seed" else "a share in (0, 1]"
        raise UserError(
            f"{name} must be {kind}",
            got=f"{value!r} in run {run.run_id}",
            remedy=f"name another key with --field {name}=config.KEY",
        )
    return int(number) if name == "seed" else number


def look(run: WandbRun, where: str) -> Any:
    """Look up `group`, `job_type`, `name`, `id`, `config.a.b` or `summary.a`."""
    plain = {
        "": None,
        "group": run.group,
        "job_type": run.job_type,
        "name": run.name,
        "id": run.run_id,
    }
    if where in plain:
        return plain[where]
    head, _, key = where.partition(".")
    tree: Any = {"config": run.config, "summary": run.summary}.get(head)
    if tree is None or not key:
        raise UserError(
            "--field names group, job_type, name, id, config.KEY or summary.KEY",
            got=repr(where),
            remedy="write for example --field seed=config.seed",
        )
    if key in tree:
        return tree[key]
    for step in key.split("."):
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Lay nested values out as a.b → value; what wandb draws (tables, images) is left out."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if not isinstance(value, dict):
            found[prefix + key] = value
        elif "_type" not in value:
            found |= flat(value, f"{prefix}{key}.")
    return found


def curve(run: WandbRun, epoch: str) -> list[dict[str, Any]]:
    """Take the numbers of the history, one row a step; empty where a step has none of a kind."""
    rows = []
    for said in run.history:
        numbers = {k: v for k, v in flat(said).items() if is_number(v) and not k.startswith("_")}
        step = said.get(epoch)
        for name in ("epoch", epoch):
            numbers.pop(name, None)
        if is_number(step) and numbers:
            rows.append({"epoch": int(step), **numbers})
    # wandb keeps no order of its keys.
    names = ["epoch", *sorted({name for row in rows for name in row} - {"epoch"})]
    return [{name: row.get(name, "") for name in names} for row in rows]


def is_number(value: Any) -> TypeGuard[float]:
    """Say whether a value can be a metric."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value)


def pairs(words: Iterable[str], option: str) -> dict[str, str]:
    """Read NAME=KEY options."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, key = word.partition("=")
        if not (name and equals and key):
            raise UserError(
                f"{option} is written NAME=KEY",
                got=repr(word),
                remedy=f"write for example {option} accuracy=test_acc",
            )
        found[name] = key
    return found


def fields(words: Iterable[str], known: Collection[str] = FIELDS) -> dict[str, str]:
    """Read the --field options; `known` are those that there are."""
    found = pairs(words, "--field")
    for name in found:
        if name not in known:
            raise UserError(
                f"--field names one of {', '.join(known)}",
                got=repr(name),
                remedy=nearest(name, known),
            )
    return found
