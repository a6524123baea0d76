"""Two arms, everything that should be said about their difference, in one object."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats import tests
from leadline.stats.equivalence import Equivalence, tost_paired, tost_welch
from leadline.stats.flags import (
    Flag,
    batch_effect,
    collapsed_runs,
    dependent_replicates,
    few_runs,
    hinges_on_one_run,
    order_effect,
    precision_decides,
    two_modes,
)
from leadline.stats.inputs import Floats, half_widths, pair_by_seed, scores, two_arms
from leadline.stats.intervals import Interval
from leadline.stats.power import Effect, hedges_g, smallest_detectable
from leadline.stats.precision import Bounds, p_bounds
from leadline.stats.t_tests import TestResult, paired_t, student, welch

Seeds = Sequence[Hashable | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmValues:
    """Scores of one arm, one per run, and what is known of the runs beyond their scores.

    Parameters
    ----------
    values
        One score per run.
    widths
        Half-widths within which the scores are known; 0 where they are known in full.
    deterministic
        Whether all runs are one: a model without luck, trained on the same cells each time.
    ordered
        Whether the runs stand in the order in which they were listed or made (not sorted by
        score, as markers read from a figure are): only then is an order effect looked for.
    batches
        What made each run (script, host, day).
    collapsed
        Marks of the runs that predict one class, where predictions are at hand.
    """

    values: npt.ArrayLike
    name: str = "the arm"
    widths: npt.ArrayLike = 0.0
    deterministic: bool = False
    ordered: bool = False
    batches: Sequence[Hashable] | None = None
    collapsed: Sequence[bool] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two arms, a - b, under every test that could be done.

    `estimate` is mean(a) - mean(b), the difference in the expected score of a fresh run;
    `interval` is Welch's. `p`, `intervals` and `smallest_p` go by test, `p_bounds` holds what
    the precision of the scores leaves of p. A test that refused stands in `refused` with its
    reason and nowhere else.
    """

    names: tuple[str, str]
    estimate: float
    interval: Interval
    p: Mapping[str, float]
    effect: Effect
    n_a: int
    n_b: int
    n_pairs: int
    smallest_detectable: float
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    smallest_p: Mapping[str, float] = field(default_factory=dict)
    p_bounds: Mapping[str, Bounds] = field(default_factory=dict)
    equivalence: Mapping[str, Equivalence] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()

    def has(self, flag_id: str) -> bool:
        """Whether a flag with this id was raised."""
        return any(flag.id == flag_id for flag in self.flags)


def compare(
    a: ArmValues | npt.ArrayLike,
    b: ArmValues | npt.ArrayLike,
    *,
    rng: np.random.Generator,
    paired_on: tuple[Seeds, Seeds] | None = None,
    margin: float | None = None,
    level: float = 0.95,
) -> Comparison:
    """Gather estimate, intervals, tests, effect sizes, equivalence, power and flags of a - b.

    Parameters
    ----------
    paired_on
        The seeds (or subsample keys) of both arms; runs that share one are paired, a seed that
        is None is unknown and its run stays out of the paired tests only.
    margin
        Equivalence margin declared by the study; without it equivalence is not tested.
    """
    arm_a, arm_b = _as_arm(a, "arm a"), _as_arm(b, "arm b")
    names = (arm_a.name, arm_b.name)
    runs_a, runs_b = two_arms(arm_a.values, arm_b.values)
    pairs = None if paired_on is None else pair_by_seed(runs_a, runs_b, *paired_on)
    outcomes, refused = _outcomes(runs_a, runs_b, pairs, level, rng)
    bounds = _p_bounds(arm_a, arm_b, runs_a, runs_b)
    intervals = {name: o.interval for name, o in outcomes.items() if o.interval is not None}
    flags = [*arm_flags(arm_a, rng), *arm_flags(arm_b, rng)]
    flags += _comparison_flags(runs_a, runs_b, pairs, names, bounds)
    return Comparison(
        names=names,
        estimate=outcomes["welch"].estimate,
        interval=intervals["welch"],
        p={name: outcome.p for name, outcome in outcomes.items()},
        effect=hedges_g(runs_a, runs_b, level),
        n_a=runs_a.size,
        n_b=runs_b.size,
        n_pairs=0 if pairs is None else pairs[0].size,
        smallest_detectable=smallest_detectable(runs_a, runs_b),
        intervals=intervals,
        smallest_p={n: o.smallest_p for n, o in outcomes.items() if o.smallest_p is not None},
        p_bounds=bounds,
        equivalence={} if margin is None else _equivalence(runs_a, runs_b, pairs, margin, refused),
        refused=refused,
        flags=tuple(flag for flag in flags if flag is not None),
    )


def _as_arm(arm: ArmValues | npt.ArrayLike, name: str) -> ArmValues:
    return arm if isinstance(arm, ArmValues) else ArmValues(values=arm, name=name)


Pairs = tuple[Floats, Floats, int]


def _outcomes(
    a: Floats, b: Floats, pairs: Pairs | None, level: float, rng: np.random.Generator
) -> tuple[dict[str, TestResult], dict[str, str]]:
    outcomes, refused = {}, {}
    for name, row in tests.ROWS.items():
        sides = pairs[:2] if row.paired and pairs is not None else (a, b)
        if row.of is None or (row.paired and pairs is None):
            continue
        try:
            outcomes[name] = row.of(*sides, level, rng)
        except UserError as error:
            refused[name] = str(error)
    return outcomes, refused


def _p_bounds(arm_a: ArmValues, arm_b: ArmValues, a: Floats, b: Floats) -> dict[str, Bounds]:
    widths_a, widths_b = half_widths(arm_a.widths, a.size), half_widths(arm_b.widths, b.size)
    if not (widths_a.any() or widths_b.any()):
        return {}
    tests: tuple[Literal["student", "welch"], ...] = ("student", "welch")
    return {test: p_bounds(a, widths_a, b, widths_b, test) for test in tests}


def _equivalence(
    a: Floats, b: Floats, pairs: Pairs | None, margin: float, refused: dict[str, str]
) -> dict[str, Equivalence]:
    found = {"welch": tost_welch(a, b, margin)}
    if pairs is not None:
        try:
            found["paired"] = tost_paired(pairs[0], pairs[1], margin)
        except UserError as error:
            refused["tost_paired"] = str(error)
    return found


def arm_flags(arm: ArmValues, rng: np.random.Generator) -> list[Flag | None]:
    """Give what must be known of one arm alone; None for each caveat that it has not."""
    runs, name = scores(arm.values), arm.name
    flags = [
        few_runs(runs, name),
        dependent_replicates(
            runs,
            deterministic=arm.deterministic,
            name=name,
        ),
        two_modes(runs, rng, name=name),
    ]
    if arm.ordered:
        flags.append(order_effect(runs, name=name))
    if arm.batches is not None:
        flags.append(batch_effect(runs, arm.batches, rng, name=name))
    if arm.collapsed is not None:
        flags.append(collapsed_runs(runs, arm.collapsed, name))
    return flags


def _comparison_flags(
    a: Floats,
    b: Floats,
    pairs: Pairs | None,
    names: tuple[str, str],
    bounds: Mapping[str, Bounds],
) -> list[Flag | None]:
    flags = [
        hinges_on_one_run(a, b, student, names=names),
        hinges_on_one_run(a, b, welch, names=names),
    ]
    flags += [precision_decides(test, bound) for test, bound in bounds.items()]
    if pairs is None:
        return flags
    try:
        flags.append(hinges_on_one_run(pairs[0], pairs[1], paired_t, paired=True, names=names))
    except UserError:
        pass  # paired_t itself refused; `Comparison.refused` says why
    if pairs[2]:
        sentence = f"{pairs[2]} run(s) without a partner of the same seed: left out of paired tests"
        flags.append(Flag("unpaired_runs", "note", sentence, {"left_out": float(pairs[2])}))
    return flags
