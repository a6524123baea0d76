"""Replicates that are not one population: two modes, an order effect, batches."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.exact import MONTE_CARLO_DRAWS, drawn_once, permutation
from leadline.stats.inputs import Array, Floats, varying

LEAST_RUNS_FOR_MODES = 6


@dataclass(frozen=True, slots=True)
class Modes:
    """The best cut of sorted runs in two, and how unlikely a cut so good is in one population.

    `share` is the part of the variance that lies between the two groups.
    """

    share: float
    p: float
    low: tuple[int, ...]
    mean_low: float
    mean_high: float
    gap: float


def find_modes(
    values: npt.ArrayLike, rng: np.random.Generator, draws: int = MONTE_CARLO_DRAWS
) -> Modes:
    """Test one population against two by the best cut (Engelman and Hartigan 1969).

    The statistic is the largest between-group share of the variance over all cuts of the sorted
    runs that leave at least a fifth of them, and two, on either side: one outlier is no mode.
    The null is the uniform distribution, the hardest unimodal one to tell from two groups, as in
    Hartigan's dip test; p is by Monte Carlo with the +1 rule. At p < .05 and n = 10 (threshold
    .907) simulated false alarms are 1.0 % for normal runs, 0.8 % for t with 3 df, 5.0 % for
    uniform and 5.3 % for exponential ones (100,000 each). The dip test at n = 10 has too little
    power: it gives .38 for the no-gene2vec accuracies, which this one finds at .023.
    """
    runs = varying(values)
    if runs.size < LEAST_RUNS_FOR_MODES:
        raise UserError(
            f"two modes cannot be seen in fewer than {LEAST_RUNS_FOR_MODES} runs",
            got=f"{runs.size}",
            remedy="run more seeds",
        )
    share, n_low = _best_cut(runs[None, :])
    null = drawn_once(rng, ("best cut", draws, runs.size), partial(_null, draws, runs.size))
    p = (int((null >= share[0]).sum()) + 1) / (draws + 1)
    order = np.argsort(runs, kind="stable")
    low, high = order[: n_low[0]], order[n_low[0] :]
    return Modes(
        float(share[0]),
        p,
        tuple(sorted(int(i) for i in low)),
        float(runs[low].mean()),
        float(runs[high].mean()),
        float(runs[high].min() - runs[low].max()),
    )


def _null(draws: int, size: int, rng: np.random.Generator) -> Floats:
    """Draw the best cuts of uniform samples."""
    return _best_cut(rng.uniform(size=(draws, size)))[0]


def _best_cut(runs_SN: Floats) -> tuple[Floats, Array]:
    """Best between-group share and size of the lower group, for each of S samples of N runs."""
    n = runs_SN.shape[1]
    centred = np.sort(runs_SN, axis=1) - runs_SN.mean(axis=1, keepdims=True)
    sizes = np.arange(1, n)
    between = np.cumsum(centred, axis=1)[:, :-1] ** 2 * (1 / sizes + 1 / (n - sizes))
    least = max(2, math.ceil(n / 5))
    allowed = between[:, least - 1 : n - least]
    share = allowed.max(axis=1) / (centred**2).sum(axis=1)
    return share, allowed.argmax(axis=1) + least


@dataclass(frozen=True, slots=True)
class Order:
    """Runs of low and high replicates in the order in which they were listed or made.

    `p` is the exact chance of so few runs of like replicates (Wald and Wolfowitz, lower tail);
    `arrangement` the chance 1 / C(n, k) of any one arrangement, of which `low_first` or
    `low_last` are the two extreme ones.
    """

    runs: int
    n_low: int
    n_high: int
    p: float
    arrangement: float
    low_first: bool
    low_last: bool


def order_test(values: npt.ArrayLike) -> Order:
    """Test whether low and high replicates come in blocks, exactly, under exchangeability.

    Low and high are the two sides of the best cut, which does not look at the order: the test is
    exact given the values, whether or not there are two modes.
    """
    runs = varying(values)
    if runs.size < LEAST_RUNS_FOR_MODES:
        raise UserError(
            f"an order effect cannot be seen in fewer than {LEAST_RUNS_FOR_MODES} runs",
            got=f"{runs.size}",
            remedy="run more seeds",
        )
    n_low = int(_best_cut(runs[None, :])[1][0])
    is_low = np.zeros(runs.size, dtype=bool)
    is_low[np.argsort(runs, kind="stable")[:n_low]] = True
    count = 1 + int((is_low[1:] != is_low[:-1]).sum())
    n_high = runs.size - n_low
    return Order(
        count,
        n_low,
        n_high,
        at_most_runs(count, n_low, n_high),
        1 / math.comb(runs.size, n_low),
        bool(is_low[:n_low].all()),
        bool(is_low[-n_low:].all()),
    )


def at_most_runs(count: int, n_low: int, n_high: int) -> float:
    """Chance of at most `count` runs among n_low and n_high exchangeable symbols, exactly."""
    ways = 0
    for runs in range(2, count + 1):
        half = runs // 2
        if runs % 2 == 0:
            ways += 2 * math.comb(n_low - 1, half - 1) * math.comb(n_high - 1, half - 1)
        else:
            ways += math.comb(n_low - 1, half) * math.comb(n_high - 1, half - 1)
            ways += math.comb(n_low - 1, half - 1) * math.comb(n_high - 1, half)
    return ways / math.comb(n_low + n_high, n_low)


def batch_test(
    values: npt.ArrayLike, batches: Sequence[Hashable], rng: np.random.Generator
) -> float:
    """Permutation p of the spread between batches (scripts, hosts, days) of one arm's runs.

    Exact for two batches as long as `exact` enumerates; otherwise Monte Carlo with the +1 rule.
    """
    runs = varying(values)
    labels = list(dict.fromkeys(batches))
    if len(batches) != runs.size or len(labels) < 2:
        raise UserError(
            "a batch effect needs one batch label per run and two batches",
            got=f"{len(batches)} labels of {len(labels)} kinds for {runs.size} runs",
            remedy="label every run with the script, host or day that made it",
        )
    codes = np.array([labels.index(batch) for batch in batches])
    counts = np.bincount(codes)
    if len(labels) == 2 and counts.min() >= 2:
        return permutation(runs[codes == 0], runs[codes == 1], rng).p
    centred = runs - runs.mean()

    def between(runs_SN: Floats) -> Floats:
        totals = np.stack([runs_SN[:, codes == k].sum(axis=1) for k in range(len(labels))])
        return np.asarray((totals**2 / counts[:, None]).sum(axis=0))

    shuffled = rng.permuted(np.tile(centred, (MONTE_CARLO_DRAWS, 1)), axis=1)
    observed = between(centred[None, :])[0] * (1 - 1e-12)
    return (int((between(shuffled) >= observed).sum()) + 1) / (MONTE_CARLO_DRAWS + 1)
