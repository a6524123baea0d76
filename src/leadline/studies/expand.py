"""Arms × grid → the runs of a study, as settings and as words; nothing is read from the data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from leadline.config import SCHEMAS, DataConfig, RunConfig
from leadline.config.compose import MOST_RUNS, compose, compose_many, too_many, values_of
from leadline.data import cache, datasets
from leadline.data.cells import outline
from leadline.errors import UserError, nearest
from leadline.studies.factors import check_factors, has
from leadline.studies.folds import FOLD, FOLDS, filed_under, folds_of, of_same_fold, over_folds
from leadline.studies.overrides import to_overrides
from leadline.studies.schema import MARK, Arm, Grid, Mark, Settings, Study
from leadline.studies.universes import settings_of, universes_of

# A pretraining is made once, whatever few-shot runs and replicates start from it.
NOT_FOR_PRETRAINING = ("seed", "data.fraction")
# Expand without overrides.
AS_FILED: Mapping[str, Sequence[Any]] = {}
# Where runs are made, or for whom: not to be varied.
PLACES = ("runs_dir", "data_dir", "study", "arm")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedRun:
    """One run that a study asks for; names of pretraining runs are not yet ids.

    `point` is where in the grid it stands, whatever its seed; there it has the `nth` of so many
    `seeds`. `choices` holds the value of each switch that the study varies.
    """

    arm: str
    settings: Settings
    point: str = ""
    nth: int = 1
    seeds: int = 1
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def starts_from(self) -> list[str]:
        """Name the pretraining runs that must be done before."""
        return sorted({name for name in map(marked, self.settings.values()) if name is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a study comes to under the words of a command line.

    `factors` says in what each arm differs from the one it is measured against.
    """

    study: Study
    pretraining: Mapping[str, RequestedRun]
    runs: Sequence[RequestedRun]
    factors: Mapping[str, Sequence[str]]


def marked(value: Any) -> str | None:
    """Give the name of the pretraining run that a value stands for, or None."""
    return value.removeprefix(MARK) if isinstance(value, Mark) else None


def expand(study: Study, words: Sequence[str] = ()) -> Plan:
    """List the runs of a study, changed by words such as `seed=1,2` or `train.epochs=3`.

    Raises
    ------
    UserError
        When the file or a word asks for what no run can do, or for a comparison that cannot tell.
    """
    marks = {f"{MARK}{name}" for name in study.pretraining}
    chosen = {
        key: [Mark(value) if isinstance(value, str) and value in marks else value for value in told]
        for key, told in values_of(words).items()
    }
    check_marks(study)
    expand_as(study, AS_FILED)
    return expand_as(study, chosen)


def expand_as(study: Study, chosen: Mapping[str, Sequence[Any]]) -> Plan:
    """List the runs of a study under the values chosen on the command line."""
    varied = {key for arm in study.arms.values() for grid in arm.grids for key in grid}
    grid = {key: tuple(chosen[key]) for key in chosen if key in varied or len(chosen[key]) > 1}
    fixed = {key: chosen[key][0] for key in chosen if key not in grid}
    check_chosen(grid)
    plain = {name: layered(study.base, arm.settings) for name, arm in study.arms.items()}
    configs = dict(zip(plain, composed(plain), strict=True))
    check_known([*fixed, *grid], study, configs)
    tier = {} if chosen is AS_FILED else fitting(study, plain[study.reference], fixed)
    arms = {
        name: layered(settings, applicable({**unset(tier, settings), **fixed}, configs[name]))
        for name, settings in plain.items()
    }
    configs = dict(zip(arms, composed(arms), strict=True))
    factors = check_factors(study.arms, arms, configs, as_filed=chosen is AS_FILED)
    check_number(study, grid, configs)
    check_grids(study, arms)
    runs = []
    for universe in universes_of(study, configs, factors, {*chosen, *varied}):
        of_universe = [
            replace(
                run,
                choices=universe,
                point=" ".join([run.point, *(f"{k}={v}" for k, v in universe.items())]).strip(),
            )
            for name, arm in study.arms.items()
            for run in requested(
                name,
                layered(arms[name], settings_of(universe, configs[name])),
                list(points(arm, grid, configs[name])),
            )
        ]
        # Whenever a sweep is stopped, arms have the same seeds.
        runs += sorted(of_universe, key=lambda run: run.nth) if universe else of_universe
    used = folds_of(run.settings for run in runs)
    return Plan(
        study=study,
        pretraining=pretraining_of(study, tier, fixed, used),
        runs=runs,
        factors=factors,
    )


def varied(words: Sequence[str]) -> Plan:
    """List the runs of the product of values that words give, without arms or a question."""
    chosen = values_of(words)
    check_chosen({key: tuple(values) for key, values in chosen.items() if len(values) > 1})
    several = {key for key, values in chosen.items() if len(values) > 1}
    factors = {key: len(values) for key, values in chosen.items()}
    if (count := math.prod(factors.values())) > MOST_RUNS:
        raise too_many(count, factors)
    runs = []
    for values in product(*chosen.values()):
        point = dict(zip(chosen, values, strict=True))
        shown = {key: value for key, value in point.items() if key in several}
        runs.append(RequestedRun(arm="", settings=point, point=written_point(shown)))
    study = Study(name="", question=" ".join(words) or "one run", arms={}, reference="")
    return Plan(study=study, pretraining={}, runs=runs, factors={})


def composed(arms: Mapping[str, Settings]) -> list[RunConfig]:
    """Compose one run of each arm; mistakes name the arm."""
    try:
        return compose_many([to_overrides(settings) for settings in arms.values()])
    except UserError:
        for name, settings in arms.items():
            try:
                compose(to_overrides(settings))
            except UserError as error:
                raise UserError(
                    f"arm {name}: {error.rule}", got=error.got, remedy=error.remedy
                ) from error
        raise


def layered(*layers: Settings) -> dict[str, Any]:
    """Put settings on top of one another; a layer that chooses an option resets its group."""
    result: dict[str, Any] = {}
    for layer in layers:
        if result.get("task", layer.get("task")) != layer.get("task", result.get("task")):
            result = {k: v for k, v in result.items() if not k.startswith("task_settings.")}
        for group in set(layer) & set(SCHEMAS):
            if result.get(group) != layer[group]:
                result = {k: v for k, v in result.items() if not k.startswith(f"{group}.")}
        result |= layer
    return result


def applicable(fixed: Settings, config: RunConfig) -> dict[str, Any]:
    """Keep those words of the command line that this arm's model has a use for."""
    return {
        key: value
        for key, value in fixed.items()
        if not key.startswith(("model.", "task_settings.")) or has(key, config)
    }


def fitting(study: Study, reference: Settings, fixed: Settings) -> Settings:
    """Choose what follows from the number of cells, if anything does."""
    if not study.by_size:
        return {}
    about = {key: fixed[key] for key in fixed if key.startswith(("data", "data_dir"))}
    config = composed({study.reference: layered(reference, about)})[0]
    n_cells = cells_in(config.data, Path(config.data_dir))
    tier = next(tier.settings for tier in study.by_size if n_cells < tier.below)
    # Where the file assigns cells to parts there is nothing to part anew.
    given = config.data.split is not None or fixed.get("protocol.reported") == "given"
    return {key: value for key, value in tier.items() if not (given and key == FOLDS)}


def unset(tier: Settings, settings: Settings) -> dict[str, Any]:
    """Leave out what an arm says itself."""
    return {key: value for key, value in tier.items() if key not in settings}


def cells_in(data: DataConfig, data_dir: Path) -> int:
    """Count the cells of a dataset, without reading its matrix where the file allows it."""
    paths = datasets.files(data, data_dir)
    if all(path.suffix == ".h5ad" for path in paths):
        return sum(outline(path).n_cells for path in paths)
    return len(cache.load_once(data, data_dir).cells)


def points(arm: Arm, chosen: Grid, config: RunConfig) -> Iterator[dict[str, Any]]:
    """Go through an arm's grids, with the values of the command line in the place of its own.

    A setting that the arm's model does not have is not varied.
    """
    seen: set[tuple[str, ...]] = set()
    for own in arm.grids:
        grid = {key: values for key, values in {**own, **chosen}.items() if has(key, config)}
        for values in product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            # As words: 1 and true are equal to Python.
            if (words := to_overrides(point)) not in seen:
                seen.add(words)
                yield point


def requested(arm: str, settings: Settings, grid: Sequence[Settings]) -> list[RequestedRun]:
    """Make the runs of one arm, in all folds, and count the seeds at each point of its grid."""
    places = [written_point(point) for point in grid]
    seen: Counter[str] = Counter()
    seeds = Counter(places)
    runs = []
    for point, place in zip(grid, places, strict=True):
        seen[place] += 1
        runs += [
            RequestedRun(
                arm=arm,
                settings=of_fold,
                point=place,
                nth=seen[place],
                seeds=seeds[place],
            )
            for of_fold in over_folds(layered(settings, point))
        ]
    return runs


def written_point(point: Settings) -> str:
    """Write where in the grid a run stands; its seed is one of many."""
    return " ".join(to_overrides({key: value for key, value in point.items() if key != "seed"}))


def pretraining_of(
    study: Study, tier: Settings, fixed: Settings, used: Mapping[str, Settings]
) -> dict[str, RequestedRun]:
    """List the pretraining runs that are needed, each after those that it starts from.

    `used` holds their names, with the fold whose cells a run must not see.
    """
    ordered: dict[str, RequestedRun] = {}

    def add(name: str, fold: Settings, path: tuple[str, ...]) -> None:
        if name in path:
            raise UserError(
                "pretraining runs may not start from one another in a circle",
                got=" from ".join([*path, name]),
                remedy="let one of them start from scratch",
            )
        if name in ordered:
            return
        own = study.pretraining[filed_under(name)]
        settings = layered(study.base, {"task": "pretrain"}, own)
        label = f"pretraining {name}"
        config = composed({label: settings})[0]
        more = {
            key: value
            for key, value in {**unset(tier, settings), **fixed}.items()
            if key not in NOT_FOR_PRETRAINING
        }
        settings = layered(settings, applicable(more, config), fold)
        if fold:
            settings = of_same_fold(settings, fold[FOLD])
        wish = RequestedRun(arm=label, settings=settings)
        for needed in wish.starts_from:
            add(needed, fold, (*path, name))
        composed({label: settings})
        ordered[name] = wish

    # In the order of the file.
    for filed in study.pretraining:
        for name, fold in used.items():
            if filed_under(name) == filed:
                add(name, fold, ())
    return ordered


def check_marks(study: Study) -> None:
    """Refuse names of pretraining runs that are not there, and runs that nothing starts from."""
    places = [("base", study.base)]
    places += [("by_size", tier.settings) for tier in study.by_size]
    places += [(f"arm {name}", arm.settings) for name, arm in study.arms.items()]
    places += [(f"pretraining {name}", own) for name, own in study.pretraining.items()]
    said = [(where, key, value) for where, own in places for key, value in own.items()]
    said += [
        (f"arm {name}: grid", key, value)
        for name, arm in study.arms.items()
        for grid in arm.grids
        for key, values in grid.items()
        for value in values
    ]
    used = set()
    for where, key, value in said:
        name = marked(value)
        if name is not None and name not in study.pretraining:
            raise UserError(
                f"{where}: {key} must name a run of the study's pretraining",
                got=repr(value),
                remedy=f"{nearest(name, study.pretraining)}; write {MARK}{value} for the text",
            )
        used.add(name)
    for name in study.pretraining:
        if name not in used:
            raise UserError(
                "each pretraining run must be the start of another run",
                got=f"{name!r}, which nothing names",
                remedy=f'write model.pretrained: "{MARK}{name}" in an arm, or leave it out',
            )


def check_chosen(grid: Grid) -> None:
    """Refuse to vary what is not a matter of science."""
    for key in grid:
        if key in PLACES or key.startswith(("tracker", "hydra")):
            raise UserError(
                f"{key} takes one value", got=f"{len(grid[key])} of them", remedy="give one"
            )


def check_known(keys: Sequence[str], study: Study, configs: Mapping[str, RunConfig]) -> None:
    """Refuse a setting that no arm has, on the command line or in a grid."""
    varied = {key for arm in study.arms.values() for grid in arm.grids for key in grid}
    for key in [*keys, *sorted(varied)]:
        if key not in SCHEMAS and not any(has(key, config) for config in configs.values()):
            # The words of one arm are enough to say what is wrong with the key.
            settings = layered(study.base, study.arms[study.reference].settings)
            compose([*to_overrides(settings), f"{key}=1"])


def check_number(study: Study, chosen: Grid, configs: Mapping[str, RunConfig]) -> None:
    """Count the runs of a study before any is made, and refuse more than anybody wants."""
    count, factors = 0, {"arms": len(study.arms)}
    for name, arm in study.arms.items():
        folds = configs[name].protocol.folds or 1
        for own in arm.grids:
            grid = {k: v for k, v in {**own, **chosen}.items() if has(k, configs[name])}
            sizes = {key: len(values) for key, values in grid.items()} | {FOLDS: folds}
            count += math.prod(sizes.values())
            factors |= {key: max(size, factors.get(key, 1)) for key, size in sizes.items()}
    if count > MOST_RUNS:
        raise too_many(count, factors)


def check_grids(study: Study, arms: Mapping[str, Settings]) -> None:
    """Refuse grids that vary what is set, or that leave an arm without its counterpart."""
    for arm in study.arms.values():
        for grid in arm.grids:
            for key in grid:
                if key in study.base or key in arm.settings:
                    raise UserError(
                        f"{key} is either set or varied",
                        got=f"both in arm {arm.name}",
                        remedy="take it out of the grid, or out of the settings",
                    )
        if arm.against is not None:
            check_counterparts(arm, study.arms[arm.against])


def check_counterparts(arm: Arm, against: Arm) -> None:
    """Refuse an arm that is run where the arm it is measured against is not; seeds may differ."""
    ours = settled(arm)
    # Points of the other arm by the settings that ours have: a lookup for each of thousands.
    theirs: dict[tuple[str, ...], set[frozenset[str]]] = {}
    for keys in {tuple(point) for point in ours}:
        theirs[keys] = {
            frozenset(repr((key, point[key])) for key in keys)
            for point in settled(against)
            if all(key in point for key in keys)
        }
    for point in ours:
        if frozenset(map(repr, point.items())) not in theirs[tuple(point)]:
            where = ", ".join(f"{key}={value}" for key, value in point.items())
            raise UserError(
                f"arm {arm.name} must be run where {against.name} is",
                got=f"{where}, where {against.name} is not",
                remedy=f"add it to the grid of {against.name}",
            )


def settled(arm: Arm) -> list[dict[str, Any]]:
    """List the points of an arm's grids, whatever the seed."""
    return [
        dict(zip(grid, values, strict=True))
        for whole in arm.grids
        for grid in [{key: values for key, values in whole.items() if key != "seed"}]
        for values in product(*grid.values())
    ]


def placed(wish: RequestedRun, ids: Mapping[str, str]) -> RequestedRun:
    """Put ids in the place of the names of pretraining runs."""
    settings = {
        # Without an id the name stays: the run has a problem, and is not made.
        key: value if (name := marked(value)) is None else ids.get(name, value)
        for key, value in wish.settings.items()
    }
    return replace(wish, settings=settings)
