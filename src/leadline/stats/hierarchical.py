"""Bootstrap over runs and cells at once, from stored predictions.

All runs predict the same cells, so runs and cells are crossed: each resample draws runs and,
independently, one set of cells that serves every drawn run (Owen's pigeonhole bootstrap). The
estimand is the expected metric of a run with a fresh seed on fresh cells of the same population.

Letters: R runs, C cells. Coverage is near its level from about ten runs; with three, the spread
over runs is under-estimated as in every bootstrap of three things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.inputs import Array, Floats, probability
from leadline.stats.intervals import Interval

Metric = Callable[[Array, Array], float]
METHOD = "crossed bootstrap over runs and cells, percentile"


def hierarchical_interval(
    y_true_C: npt.ArrayLike,
    y_pred_RC: Sequence[npt.ArrayLike] | Array,
    metric: Metric,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 1_000,
) -> Interval:
    """Bootstrap interval of the mean of metric(y_true, y_pred) over fresh runs and cells."""
    truth_C, runs_RC = prediction_arrays(y_true_C, y_pred_RC, minimum_runs=2)
    draws = np.empty(resamples)
    for i in range(resamples):
        cells = _draw(truth_C.size, rng)
        draws[i] = _drawn_mean(truth_C, runs_RC, cells, _draw(len(runs_RC), rng), metric)
    return percentiles(draws, level, METHOD)


def hierarchical_difference_interval(
    y_true_C: npt.ArrayLike,
    y_pred_a_RC: Sequence[npt.ArrayLike] | Array,
    y_pred_b_RC: Sequence[npt.ArrayLike] | Array,
    metric: Metric,
    rng: np.random.Generator,
    *,
    paired_runs: bool = False,
    level: float = 0.95,
    resamples: int = 1_000,
) -> Interval:
    """Bootstrap interval of the difference of two arms (a - b) over fresh runs and cells.

    Both arms see the same drawn cells; with `paired_runs` (run r of both arms shares a seed) also
    the same drawn runs.
    """
    truth_C, runs_a = prediction_arrays(y_true_C, y_pred_a_RC, minimum_runs=2)
    _, runs_b = prediction_arrays(y_true_C, y_pred_b_RC, minimum_runs=2)
    if paired_runs and len(runs_a) != len(runs_b):
        raise UserError(
            "paired runs must come in pairs",
            got=f"{len(runs_a)} and {len(runs_b)} runs",
            remedy="keep the runs whose seed both arms have, or set paired_runs=False",
        )
    draws = np.empty(resamples)
    for i in range(resamples):
        cells = _draw(truth_C.size, rng)
        chosen_a = _draw(len(runs_a), rng)
        chosen_b = chosen_a if paired_runs else _draw(len(runs_b), rng)
        mean_a = _drawn_mean(truth_C, runs_a, cells, chosen_a, metric)
        draws[i] = mean_a - _drawn_mean(truth_C, runs_b, cells, chosen_b, metric)
    return percentiles(draws, level, METHOD)


def prediction_arrays(
    y_true_C: npt.ArrayLike, y_pred_RC: Sequence[npt.ArrayLike] | Array, *, minimum_runs: int
) -> tuple[Array, list[Array]]:
    """Check that every run predicts every cell; labels may be codes or names."""
    truth_C = np.asarray(y_true_C)
    runs_RC = [np.asarray(run) for run in y_pred_RC]
    if truth_C.ndim != 1 or truth_C.size == 0:
        raise UserError(
            "y_true must hold one label per cell",
            got=f"shape {truth_C.shape}",
            remedy="pass the labels of one split",
        )
    if len(runs_RC) < minimum_runs:
        raise UserError(
            f"the bootstrap over runs needs at least {minimum_runs} runs",
            got=f"{len(runs_RC)}",
            remedy="run more seeds, or bootstrap the cells of one run (cell_bootstrap)",
        )
    for run_C in runs_RC:
        if run_C.shape != truth_C.shape:
            raise UserError(
                "predictions must match cells",
                got=f"predictions of shape {run_C.shape} for {truth_C.size:,} cells",
                remedy="read both from the same split of the same record",
            )
    for labels in (truth_C, *runs_RC):
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise UserError(
                "labels must not be missing",
                got=f"{int((~np.isfinite(labels)).sum())} NaN",
                remedy="drop unlabelled cells before the comparison",
            )
    return truth_C, runs_RC


def percentiles(draws: Floats, level: float, method: str) -> Interval:
    """Percentile interval of bootstrap draws; refuses a metric that was undefined in some."""
    if not np.isfinite(draws).all():
        raise UserError(
            "the metric must be defined on every resample",
            got=f"{int((~np.isfinite(draws)).sum())} NaN among {draws.size} resamples",
            remedy="use a metric that copes with a class that is absent",
        )
    tail = (1 - probability(level, "level")) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high), level, method)


def _draw(n: int, rng: np.random.Generator) -> Array:
    return rng.integers(0, n, size=n)


def _drawn_mean(
    truth_C: Array, runs_RC: list[Array], cells: Array, chosen: Array, metric: Metric
) -> float:
    # A run drawn twice has the same metric twice: compute it once and weigh it.
    runs, counts = np.unique(chosen, return_counts=True)
    truth = truth_C[cells]
    values = [metric(truth, runs_RC[run][cells]) for run in runs]
    return float(np.average(values, weights=counts))
