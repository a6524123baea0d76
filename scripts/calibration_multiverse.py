"""How often joint inference over universes errs, beside three rules in use that are faulty.

    python scripts/calibration_multiverse.py [--nulls 2000] [--planted 400] [--only NAME]

Universes share seeds and are correlated (two of one multiverse with .6), their spreads differ by up
to four times, and in `unpaired_unequal` those of the arms by two. What is printed: how often each
statistic finds an effect at .05 where there is none, and how often a switch worth half a standard
deviation over seeds is found by its simultaneous interval. docs/multiverse.md holds the figures.

The faulty rules, all on the same paired runs:
  stack    signs are flipped for each universe and seed alone, as if universes were independent
  medians  the observed median is held against the medians under the null by a t-test
  counts   the count of significant universes is held against the rate over all draws and
           universes (binomial), not against the counts of single draws
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import scipy.stats

from leadline.stats.choice_effects import worth_of_choices
from leadline.stats.exchanged_arms import ExchangedSeeds
from leadline.stats.specification_curve import specification_curve
from leadline.stats.universes import Universe

SEEDS, SWITCHES, ALPHA, CORRELATION = 10, 5, 0.05, 0.6
STATISTICS = ("median", "share", "stouffer", "max_t")
FAULTY = ("stack", "medians", "counts")
# Whether seeds are paired, and the spread of the second arm over that of the first.
NULLS = {"paired": (True, 1.0), "unpaired": (False, 1.0), "unpaired_unequal": (False, 0.5)}


def correlated(rng: np.random.Generator) -> np.ndarray:
    """Draw an arm's scores without effect: universes by seeds, of unequal spread."""
    shared = rng.normal(size=(1, SEEDS))
    own = rng.normal(size=(2**SWITCHES, SEEDS))
    spread = np.geomspace(0.5, 2, 2**SWITCHES)[:, None]
    return spread * (np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own)


def universes_of(a: np.ndarray, b: np.ndarray, test: str) -> list[Universe]:
    """Lay scores out as universes of five switches with two values each."""
    return [
        Universe(
            choices={f"s{k}": str(at >> k & 1) for k in range(SWITCHES)},
            runs=dict(enumerate(zip(*(arm.tolist() for arm in scores), strict=True))),
            test=test,
        )
        for at, scores in enumerate(zip(a, b, strict=True))
    ]


def without_effect(
    nulls: int, *, paired: bool, spread: float = 1.0, seed: int = 1
) -> Iterator[dict[str, bool]]:
    """Judge multiverses without any effect; `spread` is that of the second arm over the first's."""
    rng = np.random.default_rng(seed)
    for _ in range(nulls):
        a, b = correlated(rng), correlated(rng) * spread
        universes = universes_of(a, b, "paired_t" if paired else "welch")
        curve = specification_curve(universes, rng=rng, paired=paired)
        found = {name: curve.tests[name].p <= ALPHA for name in STATISTICS}
        yield found | (faulty(a - b, rng) if paired else {})


def faulty(d_UR: np.ndarray, rng: np.random.Generator, draws: int = 1000) -> dict[str, bool]:
    """Judge the same differences by the faulty rules."""
    universes, n = d_UR.shape
    observed = abs(np.median(d_UR.mean(axis=1)))
    alone = rng.choice([-1.0, 1.0], size=(draws, universes, n))
    stack = np.abs(np.median((alone * d_UR).mean(axis=2), axis=1))
    pairs = np.stack([d_UR, np.zeros_like(d_UR)], axis=2)
    design = ExchangedSeeds(pairs, [("paired_t", 1)] * universes)
    estimates, _, z, _ = design.statistics(design.drawn(draws, rng))
    medians = np.abs(np.median(estimates, axis=1))
    t = (observed - medians.mean()) / (medians.std(ddof=1) / np.sqrt(draws))
    significant = np.abs(z) > scipy.stats.norm.ppf(1 - ALPHA / 2)
    count = int((np.abs(design.statistics(design.identity())[2]) > 1.959964).sum())
    by_count = scipy.stats.binomtest(count, universes, significant.mean(), "greater").pvalue
    return {
        "stack": (1 + (stack >= observed).sum()) / (1 + draws) <= ALPHA,
        "medians": scipy.stats.t.sf(t, draws - 1) <= ALPHA,
        "counts": by_count <= ALPHA,
    }


def planted(multiverses: int, seed: int = 2) -> Iterator[tuple[bool, bool]]:
    """Plant a switch worth half a standard deviation over seeds; give found, and false findings."""
    rng = np.random.default_rng(seed)
    for _ in range(multiverses):
        a, b = correlated(rng) / 2**0.5, correlated(rng) / 2**0.5
        spread = np.geomspace(0.5, 2, 2**SWITCHES)
        a, b = a / spread[:, None], b / spread[:, None]
        a[[at for at in range(2**SWITCHES) if at >> 2 & 1]] += 0.5
        shown = {
            each.switch: each.shown for each in worth_of_choices(universes_of(a, b, "paired_t"))
        }
        yield shown.pop("s2"), any(shown.values())


def main() -> None:
    """Print how often each statistic finds something, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nulls", type=int, default=2000)
    parser.add_argument("--planted", type=int, default=400)
    parser.add_argument("--only", choices=(*NULLS, "planted"))
    chosen = parser.parse_args()
    for name, (paired, spread) in NULLS.items():
        if chosen.only in (None, name):
            counted: Counter[str] = Counter()
            for found in without_effect(chosen.nulls, paired=paired, spread=spread):
                counted.update({each: int(yes) for each, yes in found.items()})
            rates = {each: count / chosen.nulls for each, count in counted.items()}
            print(json.dumps({name: rates, "nulls": chosen.nulls}), flush=True)
    if chosen.only in (None, "planted"):
        found, false = np.mean(list(planted(chosen.planted)), axis=0)
        print(json.dumps({"planted": {"found": found, "any other": false}}), flush=True)


if __name__ == "__main__":
    main()
