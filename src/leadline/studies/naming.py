"""The runs of a plan, by name: which folder each will have, and which of them must come first.

To name a run takes its data and its split. What was found out is kept in `data_dir`, so that a
study of hundreds of runs is named at once the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import leadline
from leadline import files as atomic
from leadline.config import EmbeddingConfig, RunConfig, resolve, science
from leadline.config.compose import compose_many
from leadline.data.cache import data_key
from leadline.errors import UserError
from leadline.runs import record, starting_weights
from leadline.runs.identity import RunName, learns_by_epochs, resolved
from leadline.studies.expand import Plan, RequestedRun, placed
from leadline.studies.overrides import to_overrides

FILE = "names.json"
# Some dozens of studies of the paper's size; older names are found out again.
MOST_KEPT = 20_000
# What decides which cells a run gets, and its name: a change of this code makes kept names void.
CODE = (
    "data/**/*.py",
    "models/scgpt/vocabulary.py",
    "models/scgpt/tie_stream.py",
    "config/*.py",
    "runs/prepare.py",
    "runs/identity.py",
    "runs/tasks/*.py",
    "runs/starting_weights.py",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedOrder:
    """Which of the seeds of an arm at one point of the grid a run has: the nth of so many.

    `choices` holds the value of each switch that the study varies.
    """

    arm: str
    point: str
    nth: int
    seeds: int
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, str]:
        """Give the arm and the point, where runs differ in their seed alone."""
        return self.arm, self.point


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a study.

    `arms` are those that it serves, none for a pretraining run; `orders` has an entry for each.
    `after` are the ids of the runs that must be done before. Where `name` is None, `problem` says
    why the run cannot be made.
    """

    label: str
    point: str = ""
    orders: tuple[SeedOrder, ...] = ()
    arms: tuple[str, ...]
    words: tuple[str, ...]
    config: RunConfig
    after: tuple[str, ...] = ()
    name: RunName | None = None
    problem: str = ""

    @property
    def run_id(self) -> str:
        """Give the id of a run that can be made."""
        assert self.name is not None, self.problem
        return self.name.run_id

    @property
    def folder(self) -> Path:
        """Give the folder of the record."""
        return Path(self.config.runs_dir) / self.run_id

    @property
    def devices(self) -> int:
        """Count the ranks that work on the run."""
        return self.config.train.devices if learns_by_epochs(self.config) else 1

    def state(self) -> record.State:
        """Say how far the run got."""
        return record.state(self.folder)


def name_runs(plan: Plan) -> list[Run]:
    """Name every run of a plan, pretraining first; a run that serves several arms stands once.

    Raises
    ------
    UserError
        When no run can be made at all.
    """
    ids: dict[str, str] = {}
    problems: dict[str, str] = {}
    names: dict[str, RunNameCache] = {}
    first = []
    for name, wish in plan.pretraining.items():
        run = replace(compose_and_name([wish], ids, problems, names, plan)[0], arms=(), orders=())
        if run.name is None:
            problems[name] = run.problem
        else:
            ids[name] = run.run_id
        first.append(run)
    runs = [*first, *compose_and_name(plan.runs, ids, problems, names, plan)]
    for book in names.values():
        book.keep()
    if all(run.problem for run in runs):
        problems_found = dict.fromkeys(run.problem for run in runs)
        raise UserError(
            f"{f'study {plan.study.name}' if plan.study.name else 'a sweep'} must have runs that "
            "can be made",
            got="none: " + "; also: ".join(problems_found),
            remedy="set that right first",
        )
    return merged(runs)


def compose_and_name(
    wishes: Sequence[RequestedRun],
    ids: Mapping[str, str],
    problems: Mapping[str, str],
    names: dict[str, RunNameCache],
    plan: Plan,
) -> list[Run]:
    """Compose and name runs; `ids` and `problems` are those of the pretraining runs so far."""
    ready = [placed(wish, ids) for wish in wishes]
    # A record names the arm that it was made for; without a study there is none.
    about = [{"study": plan.study.name, "arm": wish.arm} if wish.arm else {} for wish in ready]
    told = [{**wish.settings, **more} for wish, more in zip(ready, about, strict=True)]
    configs = compose_many([to_overrides(settings) for settings in told])
    runs = []
    for wish, settings, composed in zip(wishes, told, configs, strict=True):
        config, places = somewhere(composed)
        run = Run(
            label=wish.arm,
            point=wish.point,
            arms=(wish.arm,),
            orders=(
                SeedOrder(
                    arm=wish.arm,
                    point=wish.point,
                    nth=wish.nth,
                    seeds=wish.seeds,
                    choices=wish.choices,
                ),
            ),
            words=to_overrides(settings | places),
            config=config,
            after=tuple(ids[name] for name in wish.starts_from if name in ids),
        )
        lacking = next((name for name in wish.starts_from if name not in ids), None)
        if lacking is not None:
            runs.append(replace(run, problem=f"pretraining {lacking}: {problems[lacking]}"))
            continue
        if config.data_dir not in names:
            names[config.data_dir] = RunNameCache(Path(config.data_dir) / FILE)
        try:
            runs.append(replace(run, name=names[config.data_dir].name(config)))
        except UserError as error:
            runs.append(replace(run, problem=str(error)))
    return runs


def somewhere(config: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """Make the places of a configuration absolute, for workers that start elsewhere."""
    places = {
        "runs_dir": str(Path(config.runs_dir).expanduser().absolute()),
        "data_dir": str(Path(config.data_dir).expanduser().absolute()),
    }
    config = replace(config, runs_dir=places["runs_dir"], data_dir=places["data_dir"])
    if config.data.path is not None:
        path = str(Path(config.data.path).expanduser().absolute())
        return replace(config, data=replace(config.data, path=path)), places | {"data.path": path}
    return config, places


def merged(runs: Sequence[Run]) -> list[Run]:
    """Let a run that several arms or universes ask for stand once."""
    result: dict[str, Run] = {}
    for position, run in enumerate(runs):
        key = f"problem {position}" if run.name is None else run.run_id
        known = result.get(key)
        both = [run] if known is None else [known, run]
        result[key] = replace(
            both[0],
            arms=tuple(dict.fromkeys(arm for each in both for arm in each.arms)),
            orders=tuple(
                {
                    (order.arm, *order.choices.items()): order
                    for each in reversed(both)
                    for order in each.orders
                }.values()
            )[::-1],
        )
    return list(result.values())


class RunNameCache:
    """The names that were found out on this machine, in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = read_names(path)
        self.found: dict[str, dict[str, Any]] = {}

    def name(self, config: RunConfig) -> RunName:
        """Name a run, from what is known if nothing has changed since."""
        if isinstance(config.model, EmbeddingConfig):
            # The file of positions enters the name only when it is read.
            return compute_run_name(config)
        key = self.key(config)
        if key not in self.known:
            self.known[key] = self.found[key] = asdict(compute_run_name(config))
        return RunName(**self.known[key])

    def key(self, config: RunConfig) -> str:
        """Digest all that a name follows from, but the contents of files: their size and date."""
        said = [
            self.code,
            science(resolved(config)),
            type(config.model).__name__,
            starting_weights.identities(config, starting_weights.weights_sources(config)),
            data_key(config.data, Path(config.data_dir)),
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @cached_property
    def code(self) -> list[Any]:
        """Give the version of leadline and of the files that decide on names."""
        package = Path(__file__).parents[1]
        found = {pattern: sorted(package.glob(pattern)) for pattern in CODE}
        # A pattern that matches nothing would let kept names live forever.
        assert all(found.values()), found
        files = [path for paths in found.values() for path in paths]
        stamps = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        return [leadline.__version__, resolve.VERSION, stamps]

    def keep(self) -> None:
        """Write down what was found out, beside what others found meanwhile."""
        if not self.found:
            return
        together = {**read_names(self.path), **self.found}
        kept = dict(list(together.items())[-MOST_KEPT:])
        # A folder that cannot be written to costs time, nothing else.
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_json(self.path, kept)


def read_names(path: Path) -> dict[str, dict[str, Any]]:
    """Read the names known so far; a file that cannot be read holds none."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def compute_run_name(config: RunConfig) -> RunName:
    """Name a run by reading its cells and drawing its split."""
    # Brings scikit-learn and anndata along, which a study that is known need not wait for.
    from leadline.runs.prepare import identify_run

    return identify_run(config).name
