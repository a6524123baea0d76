"""Joint inference over the universes of a multiverse whose replicates are seeds.

A universe is one combination of choices; in each, two arms were run with the same seeds. All
universes share the seeds, so their estimates are dependent, and what is resampled is the seed:
with paired seeds the arms of a seed are exchanged in every universe at once (its difference changes
sign), with unpaired runs the labels of arms are permuted once for all universes. The null of
every joint test is that no universe has an effect: exchanging arms changes nothing, anywhere.

Shapes: U universes, R seeds, B resamples, K runs of both arms.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.special
import scipy.stats

from leadline.errors import UserError
from leadline.stats.exchanged_arms import ArmExchange, ExchangedSeeds, PermutedLabels
from leadline.stats.inputs import Floats
from leadline.stats.universes import Universe, common_seeds, require_comparable, votes_of

# All arrangements up to here are enumerated; beyond it, never fewer than so many are drawn.
MOST_ENUMERATED, LEAST_DRAWN = 2**16, 9_999
TESTS = {
    "median": "median estimate",
    "share": "share significant in the named direction",
    "stouffer": "Stouffer’s Z",
    "max_t": "largest |t|",  # by its p, so on the normal scale
}
# Resampled curves that the band is made of, and numbers held at once.
CURVES, AT_ONCE = 2_000, 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JointTest:
    """One statistic of all universes together, and its p under exchanged arms."""

    name: str
    value: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecificationCurve:
    """What the universes say together; arrays go by universe, in the order they were given.

    `band` holds the 2.5 and 97.5 % points of sorted estimates under the null, by rank.
    `smallest_p` is the least p that any test of this design can give. `coverage` is the share of
    runs that have a partner in every universe. `p_family` holds the p of each universe after
    control of the chance of any false one (max-T, step-down).
    """

    universes: tuple[Universe, ...]
    seeds: tuple[tuple[Hashable, ...], tuple[Hashable, ...]]
    paired: bool
    direction: int
    votes: Floats
    estimates: Floats
    low: Floats
    high: Floats
    p: Floats
    p_family: Floats
    band: Floats
    tests: Mapping[str, JointTest]
    share_against: float
    resamples: int
    exact: bool
    smallest_p: float
    coverage: float
    alpha: float = 0.05
    left_out: tuple[Hashable, ...] = field(default=())

    @property
    def stands(self) -> int:
        """Count the universes in which the named direction is shown with family-wise control."""
        return int(((self.p_family < self.alpha) & (self.estimates * self.direction > 0)).sum())

    @property
    def can_tell(self) -> bool:
        """Say whether the design can give a p below the level at all."""
        return self.smallest_p < self.alpha


def specification_curve(
    universes: Sequence[Universe],
    *,
    rng: np.random.Generator,
    paired: bool = True,
    direction: int = 1,
    one_vote_per_training: bool = True,
    resamples: int = LEAST_DRAWN,
    alpha: float = 0.05,
    arms: tuple[str, str] = ("a", "b"),
) -> SpecificationCurve:
    """Estimate a - b in every universe, and test all universes jointly.

    `direction` is the sign of the effect that is claimed. With `one_vote_per_training` universes
    that differ in analysis alone share one vote; else each has one.

    Raises
    ------
    UserError
        When an effect is undefined somewhere, or universes cannot stand on one axis.
    """
    require_comparable(universes, arms)
    seeds, left_out, coverage = common_seeds(universes, paired=paired)
    design = design_of(universes, seeds, paired=paired)
    require_effects(universes, design, arms)
    votes = votes_of(universes) if one_vote_per_training else np.ones(len(universes))
    votes = votes / votes.sum()
    (estimates,), (t,), (z,), (df,) = design.statistics(design.identity())
    error = np.divide(estimates, t, out=np.zeros_like(estimates), where=t != 0)
    reach = scipy.stats.t.ppf(1 - alpha / 2, df) * error
    counted = resample(design, votes, max(resamples, LEAST_DRAWN), alpha, rng)
    value = summarise_universes(estimates[None], z[None], votes, alpha)
    agreeing, against = (value.above, value.below) if direction > 0 else (value.below, value.above)
    values = {
        "median": value.median[0],
        "share": agreeing[0],
        "stouffer": value.stouffer[0],
        "max_t": np.abs(t[np.argmax(np.abs(z))]),
    }
    return SpecificationCurve(
        universes=tuple(universes),
        seeds=seeds,
        paired=paired,
        direction=direction,
        votes=votes,
        estimates=estimates,
        low=estimates - reach,
        high=estimates + reach,
        p=2 * scipy.special.ndtr(-np.abs(z)),
        p_family=counted.p_family,
        band=counted.band,
        tests={
            # Votes add up to one within rounding.
            name: JointTest(name=TESTS[name], value=round(float(found), 12), p=counted.p[name])
            for name, found in values.items()
        },
        share_against=float(against[0]),
        resamples=counted.total,
        exact=counted.exact,
        smallest_p=max(design.least_p(), 0 if counted.exact else 1 / (counted.total + 1)),
        coverage=coverage,
        alpha=alpha,
        left_out=left_out,
    )


def design_of(
    universes: Sequence[Universe],
    seeds: tuple[tuple[Hashable, ...], tuple[Hashable, ...]],
    *,
    paired: bool,
) -> ArmExchange:
    """Lay the scores out by universe and seed, as the exchange of arms needs them."""
    analyses = [(each.test, each.ddof) for each in universes]
    if paired:
        pairs = [[each.runs[seed] for seed in seeds[0]] for each in universes]
        return ExchangedSeeds(np.array(pairs, dtype=np.float64), analyses)
    rows = [[each.runs[seed][arm] for arm in (0, 1) for seed in seeds[arm]] for each in universes]
    sizes = (len(seeds[0]), len(seeds[1]))
    return PermutedLabels(np.array(rows, dtype=np.float64), sizes, analyses)


def require_effects(
    universes: Sequence[Universe], design: ArmExchange, arms: tuple[str, str]
) -> None:
    """Refuse universes in which both arms are one and the same."""
    empty = [each for each, moved in zip(universes, design.moves(), strict=True) if not moved]
    if empty:
        words = ", ".join(f"{k}={v}" for k, v in empty[0].choices.items()) or "the only universe"
        raise UserError(
            "an effect must be defined in every universe",
            got=f"{len(empty)} where {arms[0]} and {arms[1]} score the same in every run ({words})",
            remedy="leave such combinations out (impossible): they compare nothing",
        )


@dataclass(frozen=True, slots=True)
class Summaries:
    """The statistics of all universes together, one number for each resample."""

    median: Floats
    above: Floats
    below: Floats
    stouffer: Floats


def summarise_universes(
    estimates_BU: Floats, z_BU: Floats, votes_U: Floats, alpha: float
) -> Summaries:
    """Reduce universes to the statistics of the joint tests, weighted by their votes."""
    critical = scipy.special.ndtri(1 - alpha / 2)
    return Summaries(
        weighted_median(estimates_BU, votes_U),
        (z_BU > critical) @ votes_U,
        (z_BU < -critical) @ votes_U,
        z_BU @ votes_U / np.sqrt((votes_U**2).sum()),
    )


def weighted_median(values_BU: Floats, votes_U: Floats) -> Floats:
    """Give the median of each row, between the two where half the votes lie on either side."""
    if np.ptp(votes_U) == 0:
        return np.asarray(np.median(values_BU, axis=1))
    order = np.argsort(values_BU, axis=1)
    ordered = np.take_along_axis(values_BU, order, axis=1)
    reached = np.cumsum(votes_U[order], axis=1) / votes_U.sum()
    lower = (reached < 0.5 - 1e-9).sum(axis=1)
    upper = np.minimum((reached < 0.5 + 1e-9).sum(axis=1), values_BU.shape[1] - 1)
    rows = np.arange(len(values_BU))
    return np.asarray((ordered[rows, lower] + ordered[rows, upper]) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """How often exchanged arms gave what was observed, or more."""

    p: Mapping[str, float]
    p_family: Floats
    band: Floats
    total: int
    exact: bool


def resample(
    design: ArmExchange, votes: Floats, draws: int, alpha: float, rng: np.random.Generator
) -> Resampled:
    """Exchange arms in every way, or in at least 9,999 drawn ways, and count; ties count."""
    observed = design.statistics(design.identity())
    # On the normal scale universes of unlike degrees of freedom count alike.
    far = np.abs(observed[2][0])
    exact = design.count() <= MOST_ENUMERATED
    total = design.count() if exact else draws
    seen = _extremes(observed, votes, alpha)
    order = np.argsort(far)
    counts = dict.fromkeys(seen, 0)
    family, curves = np.zeros(far.size), []
    stride = max(1, total // CURVES)
    for arrangement in _arrangements(design, total, far.size, rng, exact=exact):
        found = design.statistics(arrangement)
        for name, extremes in _extremes(found, votes, alpha).items():
            counts[name] += int((extremes >= _at_least(seen[name])).sum())
        # The largest |t| among the universes that are no more extreme than this one (step-down).
        highest = np.maximum.accumulate(np.abs(found[2])[:, order], axis=1)
        family += (highest >= _at_least(far[order])).sum(axis=0)
        curves.append(np.sort(found[0][::stride], axis=1))
    add = 0 if exact else 1
    # A universe is never more certain than one that is further out.
    stepped = np.maximum.accumulate(((family + add) / (total + add))[::-1])[::-1]
    p_family = np.empty(far.size)
    p_family[order] = stepped
    return Resampled(
        p={name: float((count + add) / (total + add)) for name, count in counts.items()}
        | {"max_t": float(p_family.min())},
        p_family=p_family,
        band=np.quantile(np.concatenate(curves), [0.025, 0.975], axis=0),
        total=total,
        exact=exact,
    )


def _extremes(found: tuple[Floats, ...], votes: Floats, alpha: float) -> dict[str, Floats]:
    """Give the two-sided statistics: of the shares the larger, whichever its direction."""
    value = summarise_universes(found[0], found[2], votes, alpha)
    return {
        "median": np.abs(value.median),
        "share": np.maximum(value.above, value.below),
        "stouffer": np.abs(value.stouffer),
    }


def _at_least(observed: Floats) -> Floats:
    # Arrangements that give the same number differ by rounding; they must count as equal.
    return np.asarray(observed - 1e-9 * np.abs(observed) - 1e-300)


def _arrangements(
    design: ArmExchange, total: int, universes: int, rng: np.random.Generator, *, exact: bool
) -> Iterator[Floats]:
    step = max(1, AT_ONCE // universes)
    for first in range(0, total, step):
        last = min(total, first + step)
        yield design.enumerated(first, last) if exact else design.drawn(last - first, rng)
