"""Tests between arms, corrected over families of pairs, as a reader sees them in a figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leadline.report.compare.arms import Condition
from leadline.report.compare.comparison import PValue
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.families import adjusted, members
from leadline.report.compare.fresh_cells import NAME
from leadline.report.compare.setting import ClaimSettings, Family, Pairs

TEST = f"{NAME}_holm"


@dataclass(frozen=True, slots=True)
class Shown:
    """A p in few letters, and whether it is below the level."""

    text: str
    significant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """Every test of a figure by its pair of cells, and what it is called."""

    name: str
    by_pair: Mapping[tuple[Condition, Condition], PValue]
    alpha: float

    def partners(self, cell: Condition) -> list[Condition]:
        """List the cells that this one was tested against."""
        return [b for a, b in self.by_pair if a == cell]

    def of(self, a: Condition, b: Condition) -> Shown:
        """Give the test of two cells."""
        return shown(self.by_pair[a, b], self.alpha)


def pairs_of(
    name: str,
    arms: Sequence[str],
    datasets: Sequence[str],
    shares: Sequence[float],
    metrics: Sequence[str],
    artefact: str,
) -> dict[str, Family]:
    """Declare the family of a figure: every other arm against the first, everywhere."""
    members = [
        Pairs(
            artefact=artefact,
            a=arm,
            b=arms[0],
            datasets=list(datasets),
            fractions=list(shares),
            metrics=list(metrics),
        )
        for arm in arms[1:]
    ]
    return {f"figure {name} of {', '.join(arms)}": Family(why=name, members=members)}


def corrected(evidence: Evidence, families: Mapping[str, Family], setting: ClaimSettings) -> Tests:
    """Test every pair over fresh runs and cells, corrected by Holm within each family."""
    by_pair: dict[tuple[Condition, Condition], PValue] = {}
    sizes = []
    for name, family in families.items():
        found = adjusted(evidence, name, family, setting)
        declared = members(evidence, family, setting)
        known = {pair: found[pair][TEST] for pair in declared if TEST in found[pair]}
        by_pair |= known
        # Holm counts every pair of a metric that was declared, run or not.
        counted = Counter(a.metric for a, _ in declared)
        sizes += [max(counted.values())] if known else []
    over = " and ".join(str(size) for size in sizes)
    return Tests(name=f"p: crossed, Holm over {over}", by_pair=by_pair, alpha=setting.alpha)


def shown(value: PValue, alpha: float) -> Shown:
    """Write a p; where it is known within bounds only, the bound that decides."""
    if value.p is not None:
        return Shown("<.001" if value.p < 0.001 else _digits(value.p), value.p < alpha)
    if value.most < alpha:
        return Shown("<.001" if value.most < 0.001 else f"≤{_digits(value.most)}", True)
    if value.least >= alpha:
        return Shown(f"≥{_digits(value.least)}", False)
    return Shown("open", False)


def _digits(p: float) -> str:
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return text.removeprefix("0")
