"""What a comparison of two arms comes to: its tests, its verdict, and corrections over families."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from leadline import stats
from leadline.report.compare.arms import ArmRuns
from leadline.stats import Effect, Equivalence, Flag, Interval, difference, metrics
from leadline.stats.crossed import over_cells_alone, too_few_donors
from leadline.stats.difference import VarianceParts

ALPHA = 0.05
# A range narrower than this share of its upper end is shown as one number.
NARROW = 1e-2
# What a test over runs alone speaks for.
SAME_CELLS = "fresh runs on these very cells"
VERDICTS = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent: the difference is shown to be within the margin",
    "open": "open: neither a difference nor equivalence is shown",
    "untested": "untested: one run of a model with luck, or no predictions",
}


@dataclass(frozen=True, slots=True)
class PValue:
    """The p of a test: the one number if it is known, and the range that it can have."""

    p: float | None
    least: float
    most: float

    @classmethod
    def of(cls, p: float) -> PValue:
        """Give a p that is known."""
        return cls(p, p, p)

    def __str__(self) -> str:
        if self.p is not None:
            return f"{self.p:.2g}"
        if self.most - self.least <= NARROW * self.most:
            return f"{self.most:.2g}"
        return f"{self.least:.2g} ... {self.most:.2g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookTaken:
    """One look at two arms: after how many seeds, at which level, and what was found."""

    seeds: int
    level: float
    p: float
    estimate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """Mean of `a` less mean of `b`.

    `test` decides, with `p` and `interval`; `corrected` is its p after Holm over the family. Where
    it is empty nothing decides, and `why` says why. `tests` holds every test that was done, by its
    name; `others` those that the study asked for beside the one that decides. `smallest_p` is the
    least that a test can ever say with so few runs. `basis` says what was known of the arms;
    `detectable` is the smallest difference that the design would have found with power .8. Where
    seeds are added stage by stage, `looks` are those that were made, and `waits_for` the number of
    seeds of the next, if there is one.
    """

    a: ArmRuns
    b: ArmRuns
    basis: str = "means"
    test: str = ""
    interval: Interval | None = None
    p: float | None = None
    corrected: float | None = None
    family_size: int = 0
    tests: Mapping[str, PValue] = dataclasses.field(default_factory=dict)
    others: Mapping[str, float] = dataclasses.field(default_factory=dict)
    smallest_p: Mapping[str, float] = dataclasses.field(default_factory=dict)
    printed_p: float | None = None
    equivalence: Equivalence | None = None
    effect: Effect | None = None
    detectable: float | None = None
    flags: tuple[Flag, ...] = ()
    why: str = ""
    speaks_for: str = SAME_CELLS
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    parts: VarianceParts | None = None
    looks: tuple[LookTaken, ...] = ()
    waits_for: int | None = None

    @property
    def estimate(self) -> float:
        """Give the difference of means."""
        return self.a.mean - self.b.mean

    @property
    def deciding(self) -> LookTaken | None:
        """Give the look whose p, corrected, is the least."""
        return min(self.looks, key=lambda look: look.p / look.level, default=None)

    @property
    def needs_seeds(self) -> bool:
        """Say whether the next look may decide what is open."""
        return self.waits_for is not None and self.verdict in ("open", "untested")

    @property
    def cannot_tell(self) -> bool:
        """Whether it speaks for fresh donors, and of so few that it decides nothing of them."""
        return self.parts is not None and too_few_donors(self.parts)

    @property
    def of_these_donors(self) -> tuple[float, float] | None:
        """The 95 % interval over cells alone, where donors are what it is judged by."""
        if self.parts is None or not self.parts.donors:
            return None
        return difference.interval(over_cells_alone(self.parts))

    def p_of(self, test: str) -> float | None:
        """Give the p of a test; None where it was not done or is known within bounds only."""
        return self.tests[test].p if test in self.tests else None

    @property
    def verdict(self) -> str:
        """Say better or worse where that is shown, equivalent where that is, else open."""
        if self.corrected is None:
            return "untested"
        if self.cannot_tell:
            return "open"
        if self.corrected < ALPHA:
            estimate = self.estimate if self.deciding is None else self.deciding.estimate
            up = (estimate > 0) is (not metrics.lower_is_better(self.a.metric))
            return "better" if up else "worse"
        if self.equivalence is not None and self.equivalence.equivalent:
            return "equivalent"
        return "open"


def corrected_family(family: Mapping[str, ArmComparison]) -> dict[str, ArmComparison]:
    """Correct the tests of difference, and those of equivalence, by Holm, each kind for itself."""
    p = stats.holm({at: 1.0 if each.p is None else each.p for at, each in family.items()})
    same = {
        at: 1.0 if each.equivalence is None else each.equivalence.p for at, each in family.items()
    }
    p_same = stats.holm(same)
    found = {}
    for at, each in family.items():
        equivalence = each.equivalence
        if equivalence is not None:
            shown = p_same[at] < ALPHA and not each.cannot_tell
            equivalence = dataclasses.replace(equivalence, equivalent=shown)
        found[at] = dataclasses.replace(
            each,
            equivalence=equivalence,
            corrected=None if each.p is None else p[at],
            family_size=0 if each.p is None else len(family),
        )
    return found
