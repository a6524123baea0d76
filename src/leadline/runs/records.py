"""Records on disk: which there are, what they say, and the configurations that made them."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from leadline.config import SCHEMAS, FileData, PythonConfig, RunConfig, TrackerConfig
from leadline.config.shipped import options, shipped
from leadline.errors import UserError, nearest
from leadline.runs import record
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
    folders = sorted(path for path in runs_dir.iterdir() if (path / record.CONFIG).exists())
    return {folder: record.state(folder) for folder in folders}


def studies(runs_dir: Path) -> dict[str, dict[str, Any]]:
    """Read the manifest of every study that was run into `runs_dir`, by name."""
    found = {}
    for path in sorted((runs_dir / STUDIES).glob("*.json")):
        try:
            manifest = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(
                "the manifest of a study must be JSON",
                got=f"{str(path)!r} ({error})",
                remedy=f"delete it; leadline ablate {path.stem} writes it again",
            ) from error
        found[path.stem] = manifest
    return found


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

    With `study`, of that study's runs alone: a record names the study and arm that it was first
    made for, and here both are those of the study asked for. A run that serves two arms of it
    stands there twice.

    Raises
    ------
    UserError
        When a finished record was changed or damaged afterwards, or the study is not there.
    """
    if study is None:
        done = [folder for folder, state in find_records(runs_dir).items() if state is State.DONE]
        return [read_whole(folder) for folder in done]
    manifests = studies(runs_dir)
    require_study(study, manifests, runs_dir)
    return [
        read_whole(runs_dir / run["run_id"]) | {"study": study, "arm": run["arm"]}
        for run in manifests[study]["runs"]
        if record.state(runs_dir / run["run_id"]) is State.DONE
    ]


def read_whole(folder: Path) -> dict[str, Any]:
    """Read the facts of a finished run, unless one of its files was changed since."""
    require_unchanged(folder)
    return record.read_facts(folder)


def require_unchanged(folder: Path) -> None:
    """Refuse a finished run of which a file is not the one that was sealed."""
    damaged = record.verify(folder)
    if damaged:
        raise UserError(
            "a finished record must not change",
            got=f"{', '.join(damaged)} in {folder} differ from what DONE says",
            remedy="delete that folder and run it again",
        )


def find_run(text: str, runs_dir: Path) -> Path:
    """Give the folder of a run, named by its path, its id, or the beginning of its id."""
    for folder in (Path(text).expanduser(), runs_dir / text):
        if (folder / record.CONFIG).is_file():
            return folder
    known = sorted(path.parent.name for path in runs_dir.glob(f"*/{record.CONFIG}"))
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
    if state is not State.DONE:
        raise UserError(
            "only a finished run can be used",
            got=f"{folder.name}, which is {state}",
            remedy=f"`leadline show {folder}` says more; the command that began it goes on",
        )
    require_unchanged(folder)


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
    plain = pickle.loads(_pickled(SEED.sub("seed: 0", text)))
    if not isinstance(plain, dict):
        return plain
    return {**plain, "seed": int(seeds[0])}


@lru_cache(maxsize=1024)
def _pickled(text: str) -> bytes:
    """Read YAML once; a fresh copy for each caller is cheaper than to read it again."""
    return pickle.dumps(yaml.load(text, LOADER))


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
