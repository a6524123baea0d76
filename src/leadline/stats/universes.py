"""Universes of a multiverse: combinations of choices, each with the scores of two arms by seed.

What cannot stand on one axis is refused here; seeds that a universe lacks are left out of all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.errors import UserError
from leadline.stats.inputs import Floats

TAGS = {
    "E": "equivalent: any reasonable person might choose either",
    "N": "one value is better",
    "U": "unknown which is better",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """One combination of choices with the scores of both arms by seed.

    `runs` has a pair for each seed, NaN where a run is missing. `analysis` names the choices that
    are applied to the same runs and train nothing; `cells` tells which cells are reported.
    """

    choices: Mapping[str, str]
    runs: Mapping[Hashable, tuple[float, float]]
    metric: str = ""
    cells: str = ""
    test: str = "paired_t"
    ddof: int = 1
    analysis: tuple[str, ...] = ()

    @property
    def training(self) -> tuple[tuple[str, str], ...]:
        """Give the choices that a model is trained by: universes that share them have one vote."""
        return tuple(sorted((k, v) for k, v in self.choices.items() if k not in self.analysis))


def require_comparable(universes: Sequence[Universe], arms: tuple[str, str] = ("a", "b")) -> None:
    """Refuse universes whose estimates do not belong on one axis."""
    if not universes:
        raise UserError(
            "a specification curve needs universes",
            got="none",
            remedy="run both arms under at least one combination of choices",
        )
    switches = {switch for each in universes for switch in each.choices}
    for arm in arms:
        if arm in switches:
            raise UserError(
                "an arm must not be a switch of the multiverse it is measured in",
                got=f"{arm!r}, which is both",
                remedy="leave the switch out of choices, or measure another arm",
            )
    for what, remedy in (
        ("metric", "draw one curve for each metric"),
        ("cells", "keep the choices that change which cells are reported out of one curve"),
    ):
        found = sorted({getattr(each, what) for each in universes} - {""})
        if len(found) > 1:
            title = {"metric": "one metric", "cells": "the same reported cells"}[what]
            shown = ", ".join(name[:24] for name in found[:4])
            raise UserError(
                f"universes on one axis must have {title}",
                got=f"{len(found)} kinds: {shown}",
                remedy=remedy,
            )


def common_seeds(
    universes: Sequence[Universe], *, paired: bool
) -> tuple[tuple[tuple[Hashable, ...], tuple[Hashable, ...]], tuple[Hashable, ...], float]:
    """Give the seeds that every universe has (of each arm if unpaired), the others, the coverage.

    Nothing is imputed: a seed that one universe lacks is left out of all of them.
    """
    every = list(dict.fromkeys(seed for each in universes for seed in each.runs))

    def has(each: Universe, seed: Hashable, arm: int) -> bool:
        return seed in each.runs and math.isfinite(each.runs[seed][arm])

    kept = [
        [seed for seed in every if all(has(each, seed, arm) for each in universes)]
        for arm in (0, 1)
    ]
    if paired:
        both = [seed for seed in kept[0] if seed in kept[1]]
        kept = [both, both]
    least = min(map(len, kept))
    if least < 2:
        thin = min(
            universes, key=lambda each: sum(has(each, s, 0) and has(each, s, 1) for s in every)
        )
        words = ", ".join(f"{k}={v}" for k, v in thin.choices.items()) or "the only universe"
        raise UserError(
            "a joint test needs two seeds that every universe has of both arms",
            got=f"{least}; the fewest has {words}",
            remedy="finish its runs, or leave out the universes whose effect is undefined",
        )
    there = sum(has(each, seed, arm) for each in universes for seed in each.runs for arm in (0, 1))
    used = (len(kept[0]) + len(kept[1])) * len(universes)
    left_out = tuple(seed for seed in every if seed not in kept[0] or seed not in kept[1])
    return (tuple(kept[0]), tuple(kept[1])), left_out, used / there


def votes_of(universes: Sequence[Universe]) -> Floats:
    """Weigh universes so that those which share their training share one vote."""
    counted: dict[tuple[tuple[str, str], ...], int] = {}
    for each in universes:
        counted[each.training] = counted.get(each.training, 0) + 1
    return np.array([1 / counted[each.training] for each in universes])


def base_of(universes: Sequence[Universe]) -> dict[str, str]:
    """Give the value of each switch that most universes have, the first of those that tie."""
    found: dict[str, Counter[str]] = {}
    for each in universes:
        for switch, value in each.choices.items():
            found.setdefault(switch, Counter())[value] += 1
    return {switch: counted.most_common(1)[0][0] for switch, counted in found.items()}


def equivalent_only(
    universes: Sequence[Universe], tags: Mapping[str, str], base: Mapping[str, str]
) -> list[Universe]:
    """Keep the universes that differ from the base in choices tagged E alone.

    Only of these may it be said that any reasonable person might have drawn one of them: a joint
    p over choices of which one is better, or of which it is unknown, explores.
    """
    held = [switch for switch in base if tags.get(switch, "U") != "E"]
    return [
        each for each in universes if all(each.choices.get(s, base[s]) == base[s] for s in held)
    ]
