"""Records on disk: which there are, what they say, and the configurations that made them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from leadline.config import (
    SCHEMAS,
    ExternalConfig,
    FileData,
    PythonConfig,
    RunConfig,
    TrackerConfig,
)
from leadline.config.shipped import options, shipped
from leadline.errors import UserError, nearest
from leadline.runs import damage, record, seal
from leadline.runs.record import State

# Both give the same values; the one in C, where it was built, is ten times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# <runs_dir>/studies/<name>.json says which runs a study consists of; docs/studies.md shows one.
STUDIES = "studies"


def find_records(runs_dir: Path) -> dict[Path, State]:
    """Give every run's folder below `runs_dir` with its state, in the order of names."""
    if not runs_dir.is_dir():
        raise UserError(
            "--runs must be a folder of records",
            got=repr(str(runs_dir)),
            remedy="make records first, for example with leadline run model=logreg",
        )
    folders = sorted(path for path in runs_dir.iterdir() if is_record(path))
    return {folder: record.state(folder) for folder in folders}


def is_record(folder: Path) -> bool:
    """Say whether a folder is a run's: begun, or once finished."""
    return any(os.path.lexists(folder / name) for name in (record.CONFIG, record.DONE))


def studies(runs_dir: Path) -> dict[str, dict[str, Any]]:
    """Read the manifest of every study that was run into `runs_dir`, by name."""
    found = {}
    for path in sorted((runs_dir / STUDIES).glob("*.json")):
        found[path.stem] = read_manifest(path)
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """Read which runs a study consists of.

    Raises
    ------
    UserError
        When it is no manifest.
    """
    try:
        manifest = json.loads(seal.read_small(path))
        require_manifest(manifest)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            "the manifest of a study must be JSON",
            got=f"{str(path)!r} ({error})",
            remedy=f"delete it; leadline ablate {path.stem} writes it again",
        ) from error
    assert isinstance(manifest, dict)
    return manifest


def require_manifest(manifest: Any) -> None:
    """Refuse JSON that does not say which runs a study has.

    Raises
    ------
    ValueError
        With what is missing.
    """
    if not isinstance(manifest, dict) or not isinstance(manifest.get("arms"), dict):
        raise ValueError("it names no arms")
    runs = manifest.get("runs")
    if not isinstance(runs, list):
        raise ValueError("it names no runs")
    for run in runs:
        words = [run.get(key) for key in ("run_id", "arm")] if isinstance(run, dict) else [None]
        if not all(isinstance(word, str) for word in words):
            raise ValueError("a run has no id or no arm")
        if run["run_id"] in ("", ".", "..") or "/" in run["run_id"] or "\0" in run["run_id"]:
            raise ValueError(f"{run['run_id']!r} is no id of a run")


def require_study(name: str, manifests: Mapping[str, Any], runs_dir: Path) -> None:
    """Refuse the name of a study of which there are no runs."""
    if name not in manifests:
        raise UserError(
            f"a study must have been run into {str(runs_dir)!r}",
            got=repr(name),
            remedy=nearest(name, manifests)
            if manifests
            else f"start leadline ablate {name}, or leave the name out",
        )


def read_done(runs_dir: Path, study: str | None = None) -> list[dict[str, Any]]:
    """Read the facts of every finished run; unfinished ones are left out.

    Damaged ones are left out as well, and the person who waits is told which.

    With `study`, of that study's runs alone: a record names the study and arm that it was first
    made for, and here both are those of the study asked for. A run that serves two arms of it
    stands there twice.

    Raises
    ------
    UserError
        When the study is not there.
    """
    if study is None:
        runs = [{"run_id": folder.name} for folder in find_records(runs_dir)]
    else:
        manifests = studies(runs_dir)
        require_study(study, manifests, runs_dir)
        runs = [{**run, "study": study} for run in manifests[study]["runs"]]
    states = {run["run_id"]: record.state(runs_dir / run["run_id"]) for run in runs}
    whole, damaged = read_usable(runs_dir, states)
    damage.warn(damaged, len(whole) + len(damaged))
    asked = [run for run in runs if run["run_id"] in whole]
    return [
        whole[run["run_id"]] | {key: run[key] for key in ("study", "arm") if key in run}
        for run in asked
    ]


def read_usable(
    runs_dir: Path, states: Mapping[str, State]
) -> tuple[dict[str, dict[str, Any]], list[damage.Damaged]]:
    """Read what the finished of these runs say, by id; and which of them are damaged, and why."""
    whole, damaged = {}, []
    for run_id, state in states.items():
        if state not in (State.DONE, State.DAMAGED):
            continue
        facts, reason = damage.facts_or_reason(runs_dir / run_id)
        if facts is None:
            damaged.append(damage.Damaged(runs_dir / run_id, reason))
        else:
            whole[run_id] = facts
    return whole, damaged


def read_whole(folder: Path) -> dict[str, Any]:
    """Read the facts of a finished run, unless its record was changed or cannot be believed."""
    damage.require_usable(folder)
    return record.read_facts(folder)


def find_run(text: str, runs_dir: Path) -> Path:
    """Give the folder of a run, named by its path, its id, or the beginning of its id."""
    for folder in (Path(text).expanduser(), runs_dir / text):
        if is_record(folder):
            return folder
    known = sorted(path.name for path in runs_dir.glob("*") if is_record(path))
    begun = [name for name in known if name.startswith(text)]
    if len(begun) == 1:
        return runs_dir / begun[0]
    if begun:
        got, remedy = f"{text!r}, with which {len(begun)} runs begin", nearest(text, begun)
    else:
        got = f"{text!r}, which is neither a record nor in {runs_dir}"
        remedy = nearest(text, known) if known else "name its folder, or that of all runs: --runs"
    raise UserError("a run is named by its folder or its id", got=got, remedy=remedy)


def require_done(folder: Path) -> None:
    """Refuse a run that has not ended well, and one that was changed since."""
    state = record.state(folder)
    if state is State.DAMAGED:
        damage.require_usable(folder)
    if state is not State.DONE:
        raise UserError(
            "only a finished run can be used",
            got=f"{folder.name}, which is {state}",
            remedy=f"`leadline show {folder}` says more; the command that began it goes on",
        )
    damage.require_usable(folder)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read a run's resolved configuration as plain values.

    Raises
    ------
    UserError
        When its config.yaml is not there, or holds no settings.
    """
    try:
        text = (folder / record.CONFIG).read_text(encoding="utf-8")
        plain = _plain(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise unreadable(folder, str(error).splitlines()[0]) from error
    if not isinstance(plain, dict):
        raise unreadable(folder, type(plain).__name__)
    return plain


SEED = re.compile(r"^seed: (\d+)$", re.MULTILINE)


def _plain(text: str) -> Any:
    """Read YAML; configurations that differ in their seed alone are read once."""
    seeds = SEED.findall(text)
    if len(seeds) != 1:
        return yaml.load(text, LOADER)
    plain = json.loads(_as_json(SEED.sub("seed: 0", text)))
    if not isinstance(plain, dict):
        return plain
    return {**plain, "seed": int(seeds[0])}


@lru_cache(maxsize=1024)
def _as_json(text: str) -> str:
    """Read YAML once; a fresh copy for each caller is cheaper than to read it again."""
    return json.dumps(yaml.load(text, LOADER), default=str)


def configuration(folder: Path) -> RunConfig:
    """Give a run's configuration as the types that made it; nobody is told of it again."""
    plain = read_settings(folder)
    groups = {"data": data_schema, "model": model_schema}
    try:
        for group, schema in groups.items():
            plain[group] = schema(plain[group])(**plain[group])
        for group in ("train", "protocol"):
            plain[group] = SCHEMAS[group][group](**plain[group])
        if plain.get("task_settings") is not None:
            schema_of_task = SCHEMAS["task_settings"][plain["task"]]
            plain["task_settings"] = schema_of_task(**plain["task_settings"])
        plain["tracker"] = TrackerConfig(name="none")
        return RunConfig(**plain)
    except (KeyError, TypeError) as error:
        raise unreadable(folder, str(error)) from error


def unreadable(folder: Path, why: str) -> UserError:
    """Say that a configuration is not one of this version."""
    return UserError(
        "a record's config.yaml must be one that this version of leadline writes",
        got=f"{folder / record.CONFIG} ({why})",
        remedy="use the version of leadline that record.json names under provenance",
    )


def data_schema(data: Mapping[str, Any]) -> type:
    """Find the type of a dataset: that of the option of its name, else anybody's file."""
    schema = of_option("data", str(data["name"]))
    if schema is None or (
        data.get("path") and not issubclass(schema, SCHEMAS["data"]["published"])
    ):
        return FileData
    return schema


def model_schema(model: Mapping[str, Any]) -> type:
    """Find the type of a model: that of the option of its name, else anybody's class."""
    if "target" in model:
        return PythonConfig
    if "worker" in model:
        return ExternalConfig
    schema = of_option("model", str(model["name"]))
    if schema is None:
        raise KeyError(f"no model {model['name']!r}")
    return schema


def of_option(group: str, name: str) -> type | None:
    """Give the schema that a shipped option starts from."""
    if name not in options(group):
        return None
    content = yaml.safe_load((shipped("conf") / group / f"{name}.yaml").read_text())
    starts = [str(entry).removesuffix("_schema") for entry in content["defaults"]]
    return next((SCHEMAS[group][entry] for entry in starts if entry in SCHEMAS[group]), None)
