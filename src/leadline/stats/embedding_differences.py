"""How far a score of two embeddings of the same cells differs, and within which limits.

Three sources of chance are told apart: which cells were drawn (halves of the cells, or means over
cells, both paired), and the luck of either side's runs (random weights, projections), where it has
several. An arm of one run, as a checkpoint is, has no luck of its own here: the answer is about
this checkpoint.

Shapes: C cells, R runs, S halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from leadline.errors import UserError
from leadline.stats.embedding_inputs import Floats, checked_codes
from leadline.stats.intervals import Interval

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDraws:
    """A score of one run: its value, and on halves of the cells or cell by cell.

    `over_cells` says that the draws are what each cell adds to a mean, nan for one not asked.
    """

    value: float
    draws: Floats
    over_cells: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingDifference:
    """A difference, or a score itself; p is None where nothing varies."""

    estimate: float
    interval: Interval | None
    p: float | None
    runs: tuple[int, int]


def embedding_difference(
    a_R: Sequence[RunDraws], b_R: Sequence[RunDraws] = (), *, unit_C: npt.ArrayLike | None = None
) -> EmbeddingDifference:
    """Give the mean of `a` less the mean of `b`, with a t interval; without `b` the mean itself.

    `unit_C` names the donor of each cell: then donors are drawn, not cells. Degrees of freedom are
    those of Satterthwaite.
    """
    _require_alike(a_R, b_R)
    estimate = float(np.mean([run.value for run in a_R]))
    difference = np.mean([run.draws for run in a_R], axis=0)
    if b_R:
        estimate -= float(np.mean([run.value for run in b_R]))
        difference = difference - np.mean([run.draws for run in b_R], axis=0)
    parts = [_of_cells(difference, unit_C) if a_R[0].over_cells else _of_halves(difference)]
    parts += [_of_runs(side) for side in (a_R, b_R) if len(side) > 1]
    variance = sum(part for part, _ in parts)
    runs = (len(a_R), len(b_R))
    # What rounding leaves of equal numbers is no spread.
    if not variance > (1e-12 * max(1.0, abs(estimate))) ** 2:
        return EmbeddingDifference(estimate=estimate, interval=None, p=None, runs=runs)
    freedom = variance**2 / sum(part**2 / df for part, df in parts if part > 0)
    error = float(np.sqrt(variance))
    half = float(scipy.stats.t.ppf(0.5 + LEVEL / 2, freedom)) * error
    return EmbeddingDifference(
        estimate=estimate,
        interval=Interval(estimate - half, estimate + half, LEVEL, "satterthwaite"),
        p=float(2 * scipy.stats.t.sf(abs(estimate) / error, freedom)),
        runs=runs,
    )


def _require_alike(a_R: Sequence[RunDraws], b_R: Sequence[RunDraws]) -> None:
    shapes = {(run.draws.shape, run.over_cells) for run in (*a_R, *b_R)}
    if not a_R or len(shapes) > 1:
        raise UserError(
            "embeddings are compared on the same cells and halves",
            got=f"{len(shapes)} kinds of draws" if a_R else "no run",
            remedy="use the same data, protocol.split_seed and task_settings for every arm",
        )


def _of_halves(draws_S: Floats) -> tuple[float, float]:
    # Half of the cells, drawn without replacement, vary about as much as all cells would anew.
    return float(draws_S.var(ddof=1)), len(draws_S) - 1


def _of_cells(draws_C: Floats, unit_C: npt.ArrayLike | None) -> tuple[float, float]:
    """Give the squared standard error of a mean over cells, or over donors of several cells."""
    asked = np.isfinite(draws_C)
    values = draws_C[asked]
    if unit_C is None:
        return float(values.var(ddof=1)) / len(values), len(values) - 1
    unit = checked_codes(np.asarray(unit_C)[asked], what="donor")
    n_units = int(unit.max()) + 1
    if n_units < 2:
        raise UserError(
            "an interval over donors needs two donors", got="one", remedy="draw cells instead"
        )
    sum_U = np.bincount(unit, weights=values - values.mean())
    return float((sum_U**2).sum()) / len(values) ** 2 * n_units / (n_units - 1), n_units - 1


def _of_runs(side: Sequence[RunDraws]) -> tuple[float, float]:
    values = np.array([run.value for run in side])
    return float(values.var(ddof=1)) / len(values), len(values) - 1
