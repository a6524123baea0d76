"""What more seeds, cells or donors would buy, and what a study can find before it is run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy.special import ndtri, stdtrit

from leadline.errors import UserError
from leadline.stats.difference import (
    LEAST_CELL_DF,
    LEAST_DONOR_DF,
    VarianceParts,
    margin_squared,
    run_margin_squared,
    unit_margin_squared,
)

MOST_SEEDS, CHANCE = 100, 0.8
# psi: how much the competence of two models differs from cell to cell.
USUAL, CAUTIOUS = 0.05, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class WouldBuy:
    """Half-widths now and at the ends, and what would decide the open question.

    `seeds`: smallest number per arm, at most 100, with chance .8; None if none would. `cells` and
    `donors`: about how many would with the seeds there are (`with_seeds`); None where not even
    100 seeds and any number of cells would.
    """

    half_now: float
    half_many_seeds: float
    half_many_cells: float
    seeds: int | None
    cells: int | None
    donors: int | None
    with_seeds: int | None


def projected(
    found: VarianceParts, *, seeds: int | None = None, units: float = 1.0
) -> VarianceParts:
    """Parts with other numbers of seeds an arm, and of cells (and donors) times `units`."""
    rows = {"a": found.rows_a, "b": found.rows_b}
    new = {arm: seeds if seeds and n > 1 else n for arm, n in rows.items()}
    v_runs, noise = found.v_runs, found.v_interaction
    if seeds and found.paired:
        v_runs, noise = (x * found.rows_a / seeds for x in (v_runs, noise))
    elif seeds:
        scale_a, scale_b = rows["a"] / new["a"], rows["b"] / new["b"]
        v_runs = found.v_runs_a * scale_a + found.v_runs_b * scale_b
        noise = found.v_interaction_a * scale_a + found.v_interaction_b * scale_b
    df = _df(found, seeds) if seeds else found.df_runs
    v_runs = max(v_runs - noise, 0.0) + noise / units
    return replace(
        found,
        v_runs=v_runs,
        df_runs=df,
        v_cells=found.v_competence / units,
        df_cells=max(LEAST_CELL_DF, found.df_cells * units),
        v_interaction=0.0,
        v_donors=found.v_donors / units,
        df_donors=max(LEAST_DONOR_DF, found.df_donors * units),
        step=found.step / units,
        cells=round(found.cells * units),
        donors=round(found.donors * units),
        rows_a=new["a"],
        rows_b=new["b"],
    )


def what_would_buy(
    found: VarianceParts,
    *,
    distance: float | None = None,
    one_sided: bool = False,
    floor: float | None = None,
) -> WouldBuy:
    """Say what more seeds or cells would bring.

    Parameters
    ----------
    distance
        From the estimate to the border of the open question: |a - b| for a difference (the
        default), margin - (a - b) for "not above the margin".
    one_sided
        Whether the question is one-sided (.05), as for non-inferiority and equivalence.
    floor
        The margin of such a claim: its test needs so many cells even if not one call differs.
    """
    far = abs(found.estimate) if distance is None else distance
    many_cells = run_margin_squared(
        replace(found, v_runs=max(found.v_runs - found.v_interaction, 0.0)), 0.05
    )
    seeds = next(
        (r for r in range(2, MOST_SEEDS + 1) if _decides(found, far, r, one_sided, floor)), None
    )
    units, with_seeds = None, None
    if seeds is None and far > 0:
        for given in (max(found.rows_a, found.rows_b), MOST_SEEDS):
            units = _units_needed(found, far, given, one_sided, floor)
            if units is not None:
                with_seeds = given
                break
    return WouldBuy(
        half_now=math.sqrt(margin_squared(found, 0.05)),
        half_many_seeds=math.sqrt(unit_margin_squared(found, 0.05)),
        half_many_cells=math.sqrt(many_cells),
        seeds=seeds,
        cells=None if units is None else math.ceil(found.cells * units),
        donors=None if units is None or not found.donors else math.ceil(found.donors * units),
        with_seeds=with_seeds,
    )


def detectable(found: VarianceParts, *, one_sided: bool = False) -> float:
    """Least difference that this comparison would have found with chance .8."""
    return math.sqrt(_needed(found, one_sided))


def planned_detectable(
    *,
    seeds: int,
    cells: int,
    run_sd: float,
    competence: float = USUAL,
    seeds_against: int | None = None,
    alpha: float = 0.05,
) -> float:
    """Least difference that a study finds with chance .8.

    Parameters
    ----------
    run_sd
        Standard deviation of the score between runs.
    competence
        psi, the spread of competence between the models: about a third of the share of cells on
        which single runs of both differ; .05 is usual, .1 cautious.
    seeds_against
        Seeds of the other arm, where it has not as many. Here and in `seeds`, 0 stands for a model
        without luck.
    alpha
        Level of the two-sided test.
    """
    rows = [seeds, seeds if seeds_against is None else seeds_against]
    if min(rows) < 0 or 1 in rows or cells < 1 or run_sd < 0 or competence < 0:
        raise UserError(
            "a plan needs two seeds, cells, and spreads that are not negative",
            got=f"{seeds} seeds, {cells} cells, spreads {run_sd} and {competence}",
            remedy="correct the plan",
        )
    shares = [1 / n for n in rows if n]
    v_runs, df = run_sd**2 * sum(shares), math.inf
    if shares:
        df = sum(shares) ** 2 / sum(x**2 / (1 / x - 1) for x in shares)
    runs = _t_factor(df, alpha / 2) * v_runs
    return math.sqrt(runs + _z_factor(alpha / 2) * competence / cells)


def planned_seeds(
    difference: float, *, cells: int, run_sd: float, competence: float = USUAL
) -> int | None:
    """Smallest number of seeds an arm (2 to 100) that finds a difference; None: never."""
    for seeds in range(2, MOST_SEEDS + 1):
        least = planned_detectable(seeds=seeds, cells=cells, run_sd=run_sd, competence=competence)
        if least <= difference:
            return seeds
    return None


def planned_cells(margin: float, *, competence: float = USUAL, claim: str = "difference") -> int:
    """Held-out cells that a claim needs with any number of seeds, with chance .8.

    `claim`: `difference` of the margin; `not_above` the margin or `equivalent` within it, of equal
    models.
    """
    factors = {
        "difference": _z_factor(0.025),
        "not_above": _z_factor(0.05),
        "equivalent": float(ndtri(0.95) + ndtri(0.9)) ** 2,  # both borders at once
    }
    if claim not in factors or margin <= 0:
        raise UserError(
            "cells are planned for a claim and a margin above 0",
            got=f"{claim!r} at {margin}",
            remedy=f"choose one of {', '.join(factors)}",
        )
    return math.ceil(factors[claim] * competence / margin**2)


def _df(found: VarianceParts, seeds: int) -> float:
    if math.isinf(found.df_runs):
        return math.inf
    alone = found.paired or found.rows_a == 1 or found.rows_b == 1
    return float(seeds - 1 if alone else 2 * (seeds - 1))


def _t_factor(df: float, alpha: float) -> float:
    if math.isinf(df):
        return _z_factor(alpha)
    return float(stdtrit(df, 1 - alpha) + stdtrit(df, CHANCE)) ** 2


def _z_factor(alpha: float) -> float:
    return float(ndtri(1 - alpha) + ndtri(CHANCE)) ** 2


def _needed(found: VarianceParts, one_sided: bool, floor: float | None = None) -> float:
    """Squared distance that is decided with chance .8."""
    alpha = 0.05 if one_sided else 0.025
    unit = _z_factor(alpha) * max(found.v_competence, found.v_donors)
    if floor is not None:
        unit = max(unit, -math.log(alpha) * floor * found.step)
    return _t_factor(found.df_runs, alpha) * found.v_runs + unit


def _decides(
    found: VarianceParts, far: float, seeds: int, one_sided: bool, floor: float | None
) -> bool:
    return far > 0 and far**2 >= _needed(projected(found, seeds=seeds), one_sided, floor)


def _units_needed(
    found: VarianceParts, far: float, seeds: int, one_sided: bool, floor: float | None
) -> float | None:
    """How many times the cells (and donors) decide with these seeds."""
    now = projected(found, seeds=max(seeds, 2))
    unlimited = projected(found, seeds=max(seeds, 2), units=1e12)
    unlimited = replace(unlimited, v_cells=0.0, v_donors=0.0)
    rest = _needed(unlimited, one_sided)
    if far**2 <= rest:
        return None
    return (_needed(now, one_sided, floor) - rest) / (far**2 - rest)
