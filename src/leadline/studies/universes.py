"""The universes of a study: what each value of a switch sets, and which studies have no sense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from leadline.config import SCHEMAS, RunConfig
from leadline.config.switches import ROWS
from leadline.errors import UserError
from leadline.studies.designs import Universe
from leadline.studies.factors import has

if TYPE_CHECKING:
    from leadline.studies.schema import Study


def universes_of(
    study: Study,
    configs: Mapping[str, RunConfig],
    factors: Mapping[str, Sequence[str]],
    said: Iterable[str],
) -> list[Universe]:
    """List the universes of a study, one without choices where it has none.

    `said` are the settings that the grid varies or a word gives.

    Raises
    ------
    UserError
        When a switch is what the study asks about, is set elsewhere, or concerns nobody.
    """
    if study.choices is None:
        return [{}]
    trained = study.choices.trained
    check_arms(trained, factors, study, configs)
    check_words(trained, said)
    for name in trained:
        if not any(concerned(name, config) for config in configs.values()):
            raise UserError(
                "choices may vary what a model of the study reads",
                got=f"{name}, which none of {', '.join(configs)} reads",
                remedy="leave the switch out",
            )
        if ROWS[name].parts_cells and study.pretraining:
            raise UserError(
                "choices may not change the reported cells where runs are pretrained: a cell that "
                "is reported on may have been seen",
                got=repr(name),
                remedy="leave the switch out, or make one study for each value",
            )
    check_pairs(trained, configs)
    return study.choices.universes


def settings_of(universe: Mapping[str, str], config: RunConfig) -> dict[str, Any]:
    """Give what a universe sets in an arm: only what concerns its model and exists there."""
    found: dict[str, Any] = {}
    for name, value in universe.items():
        if concerned(name, config):
            found |= {k: v for k, v in ROWS[name].settings(value).items() if has(k, config)}
    return found


def concerned(name: str, config: RunConfig) -> bool:
    """Say whether a switch changes anything that a run of this configuration reads."""
    switch = ROWS[name]
    return switch.concerns(config.model.name) and any(has(path, config) for path in switch.paths)


def check_arms(
    trained: Iterable[str],
    factors: Mapping[str, Sequence[str]],
    study: Study,
    configs: Mapping[str, RunConfig],
) -> None:
    """Refuse an arm that differs from another in a switch that varies: both would set it."""
    for name in trained:
        for arm, differing in factors.items():
            against = study.arms[arm].against
            assert against is not None
            if not any(concerned(name, configs[each]) for each in (arm, against)):
                continue
            for factor in differing:
                # A model comes with its training: the switch is set in both.
                groups = set(SCHEMAS) - {"model"}
                inside = factor in groups and any(
                    p.startswith(f"{factor}.") for p in ROWS[name].paths
                )
                if inside or factor in ROWS[name].paths:
                    raise UserError(
                        "an arm may not itself be a switch that varies",
                        got=f"arm {arm}, which differs from {against} in {factor}, while choices "
                        f"vary {name}",
                        remedy=f"take {name} out of choices, or let it vary there and leave the "
                        "arm out",
                    )


def check_words(trained: Iterable[str], said: Iterable[str]) -> None:
    """Refuse a grid or a word for a setting that a switch varies."""
    for key in said:
        for name in trained:
            if key in ROWS[name].paths:
                raise UserError(
                    "a setting is varied by choices, or by the grid or a word",
                    got=f"{key}, which the switch {name} sets",
                    remedy=f"leave {key} out, or take {name} out of choices",
                )


def check_pairs(trained: Iterable[str], configs: Mapping[str, RunConfig]) -> None:
    """Refuse two switches that set one setting of one arm."""
    for first, second in combinations(trained, 2):
        both = ROWS[first].paths & ROWS[second].paths
        if both and any(
            concerned(first, config) and concerned(second, config) for config in configs.values()
        ):
            raise UserError(
                "two switches that vary must set different settings",
                got=f"{first} and {second}, which both set {', '.join(sorted(both))}",
                remedy="leave one of them out",
            )
