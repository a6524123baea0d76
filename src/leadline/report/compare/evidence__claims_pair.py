"""What every way to compare two sides gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leadline.report.compare.evidence import Side
from leadline.stats import Bounds, Effect, Flag, Interval

# A range narrower than this share of its upper end is shown as one number.
NARROW = 1e-2


@dataclass(frozen=True, slots=True)
class PValue:
    """The p of a test: the one number if it is known, and the range that it can have."""

    p: float | None
    least: float
    most: float

    def __str__(self) -> str:
        if self.p is not None:
            return f"{self.p:.2g}"
        if self.most - self.least <= NARROW * self.most:
            return f"{self.most:.2g}"
        return f"{self.least:.2g} ... {self.most:.2g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of a less mean of b, with what each test says of it.

    `basis` says what was known of the sides. `p` holds what can be said in one number; `bounds`
    the least and the largest that p can be, for the tests where precision or missing runs leave a
    range. `smallest_p` is the least that a test can ever say with so few runs.
    """

    a: Side
    b: Side
    basis: str
    estimate: float
    interval: Interval | None = None
    p: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    smallest_p: Mapping[str, float] = field(default_factory=dict)
    effect: Effect | None = None
    n_pairs: int = 0
    printed_p: float | None = None
    flags: tuple[Flag, ...] = ()

    @property
    def tests(self) -> dict[str, PValue]:
        """Give every test that could be done."""
        names = dict.fromkeys((*self.p, *self.bounds))
        return {name: self._value(name) for name in names}

    def _value(self, test: str) -> PValue:
        p = self.p.get(test)
        if test in self.bounds:
            return PValue(p, self.bounds[test].low, self.bounds[test].high)
        assert p is not None
        return PValue(p, p, p)
