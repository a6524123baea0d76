"""Where the spread of a multiverse comes from: shares of seeds and switches, and points by switch.

Every universe has the same seeds, so seeds and choices are crossed: what a choice adds to the mean
over seeds is its effect, what is left after all choices, their pairs and the seeds is noise.

Shapes: U universes, R seeds, C columns of a design, S switches.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
import scipy.stats

from leadline.errors import UserError
from leadline.stats.inputs import Array, Floats
from leadline.stats.intervals import Interval
from leadline.stats.universes import Universe, base_of, common_seeds

# Beyond so many switches orders are drawn for Shapley's shares instead of counted all.
MOST_SWITCHES, ORDERS, RESAMPLES = 9, 200, 500
SEED, SUBSET, REST = "seed", "subset", "not explained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of the variance over universes and seeds that one thing carries.

    `eta2` is its part alone; `net` the same less what noise would give it, never below 0:
    `clamped` says that it would have been. `shapley` is what it adds on average over all orders in
    which things could be taken in. Pairs of switches are told beyond both of their switches.
    """

    what: tuple[str, ...]
    eta2: float
    net: float | None
    shapley: float | None
    interval: Interval
    clamped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceWorth:
    """What one value of a switch adds to the effect, against the value that the base has.

    `interval` holds for all values of all switches at once. Where a design cannot tell a value
    from another, estimate and interval are None.
    """

    switch: str
    value: str
    against: str
    estimate: float | None
    interval: Interval | None

    @property
    def shown(self) -> bool:
        """Say whether the interval excludes no difference."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


def effects_by_seed(universes: Sequence[Universe]) -> tuple[Floats, tuple[Hashable, ...]]:
    """Give the effect of each universe in each seed that all universes have of both arms."""
    (seeds, _), _, _ = common_seeds(universes, paired=True)
    runs = [[each.runs[seed][0] - each.runs[seed][1] for seed in seeds] for each in universes]
    return np.array(runs, dtype=np.float64), seeds


def worth_of_choices(
    universes: Sequence[Universe], *, base: Mapping[str, str] | None = None, level: float = 0.95
) -> list[ChoiceWorth]:
    """Estimate what each value of each switch is worth, with simultaneous intervals.

    Every switch is averaged over the others by least squares on main effects, seed by seed; the
    interval is Student's over seeds at the level that Sidak asks for so many values.
    """
    effects_UR, _ = effects_by_seed(universes)
    base = dict(base or base_of(universes))
    names, design_UC = main_effects(universes, base)
    if not names:
        raise UserError(
            "what a switch is worth needs a switch with two values",
            got="universes that all have the same choices",
            remedy="vary a switch in choices",
        )
    inverse_CU = np.linalg.pinv(design_UC)
    told = np.abs(inverse_CU @ design_UC - np.eye(design_UC.shape[1])).max(axis=1) < 1e-8
    by_seed_CR = inverse_CU @ effects_UR
    n, many = effects_UR.shape[1], int(told[1:].sum())
    each = level if many == 0 else level ** (1 / many)
    reach_C = scipy.stats.t.ppf((1 + each) / 2, n - 1) * by_seed_CR.std(axis=1, ddof=1) / np.sqrt(n)
    found = []
    for (switch, value), centre, reach, known in zip(
        names, by_seed_CR.mean(axis=1)[1:], reach_C[1:], told[1:], strict=True
    ):
        interval = Interval(float(centre - reach), float(centre + reach), level, "simultaneous t")
        found.append(
            ChoiceWorth(
                switch=switch,
                value=value,
                against=base[switch],
                estimate=float(centre) if known else None,
                interval=interval if known else None,
            )
        )
    return found


def main_effects(
    universes: Sequence[Universe], base: Mapping[str, str]
) -> tuple[list[tuple[str, str]], Floats]:
    """Code choices as columns, 1 where a universe has a value other than the base's."""
    values: dict[str, dict[str, None]] = {}
    for each in universes:
        for switch, value in each.choices.items():
            values.setdefault(switch, {})[value] = None
    names = [(s, value) for s, known in values.items() for value in known if value != base[s]]
    columns = [
        np.array([each.choices.get(s, base[s]) == value for each in universes], dtype=np.float64)
        for s, value in names
    ]
    return names, np.column_stack([np.ones(len(universes)), *columns])


def shares_of_spread(
    universes: Sequence[Universe], rng: np.random.Generator, *, level: float = 0.95
) -> list[Share]:
    """Divide the variance over universes and seeds among seeds, switches and pairs of switches.

    Seeds written as pairs are a seed and a subset. Intervals come from resampling the seeds.
    """
    effects_UR, seeds = effects_by_seed(universes)
    n = effects_UR.shape[1]
    draws_BR = np.vstack([np.arange(n), rng.integers(0, n, size=(RESAMPLES, n))])
    means_UB = effects_UR[:, draws_BR].mean(axis=2)
    centred_UB = means_UB - means_UB.mean(axis=0)
    total_B = np.array([_squares(effects_UR[:, chosen].ravel()) for chosen in draws_BR])
    between_B = np.array(
        [len(effects_UR) * _squares(effects_UR[:, chosen].mean(axis=0)) for chosen in draws_BR]
    )
    blocks = switch_columns(universes)
    pairs = {pair: _products(blocks[pair[0]], blocks[pair[1]]) for pair in combinations(blocks, 2)}
    mains: dict[tuple[str, ...], Floats] = {(name,): block for name, block in blocks.items()}
    fit = LeastSquares(mains | pairs, centred_UB)

    def fitted(*names: tuple[str, ...]) -> Floats:
        return n * fit.explained(names)

    every = (*mains, *pairs)
    noise_B = np.maximum(total_B - between_B - fitted(*every), 0)
    df = effects_UR.size - n - fit.rank(every)
    per_df = float(noise_B[0]) / df if df > 0 else None
    total_B = np.where(total_B > 0, total_B, 1.0)
    shapley = shapley_shares(list(blocks), lambda names: fitted(*((name,) for name in names)), rng)

    def share(what: tuple[str, ...], squares: Floats, columns: int, added: Floats | None) -> Share:
        return _share(what, squares, total_B, (columns, per_df), added, level)

    found = []
    for name, codes in _of_seeds(seeds).items():
        squares = np.array(
            [len(effects_UR) * _between(effects_UR[:, r].mean(axis=0), codes[r]) for r in draws_BR]
        )
        # Seeds are crossed with choices: what they add does not depend on the order.
        found.append(share((name,), squares, int(codes.max()), squares))
    for main in mains:
        found.append(share(main, fitted(main), fit.rank([main]), shapley[main[0]]))
    for pair in pairs:
        both = [(pair[0],), (pair[1],)]
        columns = fit.rank([*both, pair]) - fit.rank(both)
        if columns:
            found.append(share(pair, fitted(*both, pair) - fitted(*both), columns, None))
    return [*found, _share((REST,), noise_B, total_B, (0, None), None, level)]


class LeastSquares:
    """What sets of columns explain of many vectors, by their products alone."""

    def __init__(self, blocks: Mapping[tuple[str, ...], Floats], targets_UB: Floats) -> None:
        self.places: dict[tuple[str, ...], Array] = {}
        columns, start = [np.zeros((len(targets_UB), 0))], 0
        for name, block in blocks.items():
            columns.append(block - block.mean(axis=0))
            self.places[name] = np.arange(start, start + block.shape[1])
            start += block.shape[1]
        together = np.hstack(columns)
        self.products, self.with_targets = together.T @ together, together.T @ targets_UB

    def explained(self, names: Sequence[tuple[str, ...]]) -> Floats:
        """Give the sum of squares that these columns explain of each vector."""
        if not names:
            return np.zeros(self.with_targets.shape[1])
        at = np.concatenate([self.places[name] for name in names])
        inverse = np.linalg.pinv(self.products[np.ix_(at, at)], rcond=1e-10, hermitian=True)
        wanted = self.with_targets[at]
        return np.asarray((wanted * (inverse @ wanted)).sum(axis=0))

    def rank(self, names: Sequence[tuple[str, ...]]) -> int:
        """Count the columns that are no combination of others."""
        if not names:
            return 0
        at = np.concatenate([self.places[name] for name in names])
        return int(np.linalg.matrix_rank(self.products[np.ix_(at, at)], rtol=1e-10, hermitian=True))


def switch_columns(universes: Sequence[Universe]) -> dict[str, Floats]:
    """Code each switch that has two values or more as centred columns."""
    names, design_UC = main_effects(universes, base_of(universes))
    columns: dict[str, list[Floats]] = {}
    for at, (switch, _) in enumerate(names, start=1):
        columns.setdefault(switch, []).append(design_UC[:, at] - design_UC[:, at].mean())
    return {switch: np.column_stack(found) for switch, found in columns.items()}


def shapley_shares(
    switches: Sequence[str],
    explained: Callable[[Sequence[str]], Floats],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Average over all orders what each switch adds to what those before it explain.

    From ten switches on, over orders that are drawn.
    """
    known: dict[frozenset[str], Floats] = {}

    def of(names: frozenset[str]) -> Floats:
        if names not in known:
            known[names] = explained(sorted(names))
        return known[names]

    found = {name: np.zeros_like(of(frozenset())) for name in switches}
    if len(switches) <= MOST_SWITCHES:
        k = len(switches)
        for name in switches:
            others = [other for other in switches if other != name]
            for size in range(k):
                weight = factorial(size) * factorial(k - size - 1) / factorial(k)
                for before in map(frozenset, combinations(others, size)):
                    found[name] += weight * (of(before | {name}) - of(before))
        return found
    for _ in range(ORDERS):
        taken: frozenset[str] = frozenset()
        for name in rng.permutation(list(switches)).tolist():
            found[name] += (of(taken | {name}) - of(taken)) / ORDERS
            taken |= {name}
    return found


def _share(
    what: tuple[str, ...],
    squares_B: Floats,
    total_B: Floats,
    noise: tuple[int, float | None],
    added_B: Floats | None,
    level: float,
) -> Share:
    """Turn sums of squares, the observed first and then resampled ones, into a share."""
    shares = squares_B / total_B
    columns, per_df = noise
    net = None if per_df is None else float((squares_B[0] - columns * per_df) / total_B[0])
    ends = np.quantile(shares[1:], [(1 - level) / 2, (1 + level) / 2])
    return Share(
        what=what,
        eta2=float(shares[0]),
        net=None if net is None else max(0.0, net),
        shapley=None if added_B is None else float(added_B[0] / total_B[0]),
        interval=Interval(float(ends[0]), float(ends[1]), level, "resampled seeds"),
        clamped=net is not None and net < 0,
    )


def _squares(values: Floats) -> float:
    return float(((values - values.mean()) ** 2).sum())


def _between(values_R: Floats, codes_R: Array) -> float:
    """Give the sum of squares between groups."""
    counts = np.bincount(codes_R)
    sums = np.bincount(codes_R, values_R - values_R.mean())
    return float((sums[counts > 0] ** 2 / counts[counts > 0]).sum())


def _of_seeds(seeds: Sequence[Hashable]) -> dict[str, Array]:
    """Code the seeds, or seed and subset where both are told."""
    if all(isinstance(seed, tuple) and len(seed) == 2 for seed in seeds):
        parts = {SEED: [seed[0] for seed in seeds], SUBSET: [seed[1] for seed in seeds]}  # type: ignore[index]
    else:
        parts = {SEED: list(seeds)}
    return {
        name: np.array([list(dict.fromkeys(known)).index(each) for each in known])
        for name, known in parts.items()
    }


def _products(a: Floats, b: Floats) -> Floats:
    return np.column_stack([x * y for x in a.T for y in b.T])
