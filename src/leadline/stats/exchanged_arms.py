"""How arms are exchanged under the null, in all universes at once, and what each then shows.

With paired seeds the two arms of a seed change places (the difference changes sign); with unpaired
runs the labels of arms are permuted among all runs. One exchange holds for every universe, so
that their dependence is kept. Scores are centred first: a level common to both arms plays no part.

Shapes: U universes, R seeds, B exchanges, K runs of both arms.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations, islice

import numpy as np
import scipy.special

from leadline.errors import UserError
from leadline.stats.inputs import RELATIVE_ZERO, Array, Floats

# A p this small ends what doubles can say of a normal tail.
LEAST_TAIL = 1e-300
# How a universe is tested: the test, and whether variances are divided by n - 1 or n.
Analysis = tuple[str, int]


class ArmExchange(ABC):
    """A design whose arms can be exchanged; one row of an arrangement is one exchange."""

    allowed: tuple[str, ...] = ()

    def __init__(self, analyses: Sequence[Analysis]) -> None:
        for test, ddof in analyses:
            if test not in self.allowed or ddof not in (0, 1):
                raise UserError(
                    f"universes of this design are tested by {', '.join(self.allowed)}; ddof 0, 1",
                    got=f"{test} with ddof {ddof}",
                    remedy="leave the combination out (impossible)",
                )
        self.at: dict[Analysis, Array] = {
            kind: np.flatnonzero([each == kind for each in analyses])
            for kind in dict.fromkeys(analyses)
        }

    @abstractmethod
    def identity(self) -> Floats:
        """Give the arrangement that was observed."""

    @abstractmethod
    def count(self) -> int:
        """Count all arrangements."""

    @abstractmethod
    def enumerated(self, first: int, last: int) -> Floats:
        """Give some of all arrangements, in a fixed order."""

    @abstractmethod
    def drawn(self, many: int, rng: np.random.Generator) -> Floats:
        """Draw arrangements."""

    @abstractmethod
    def least_p(self) -> float:
        """Give the least two-sided p that all arrangements can give."""

    @abstractmethod
    def moves(self) -> Array:
        """Say in which universes the arms can be told apart at all."""

    @abstractmethod
    def errors(
        self, kind: Analysis, at: Array, arrangement: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Give mean differences, their squared standard errors and degrees of freedom."""

    def statistics(self, arrangement: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Give estimate, t, z and degrees of freedom of each universe under each exchange."""
        shape = (len(arrangement), sum(map(len, self.at.values())))
        estimate, t, df = (np.empty(shape) for _ in range(3))
        for kind, at in self.at.items():
            mean, squared, df[:, at] = self.errors(kind, at, arrangement)
            estimate[:, at] = mean
            # Runs that all agree make t infinite; a huge number orders them as well.
            t[:, at] = mean / np.sqrt(np.maximum(squared, (RELATIVE_ZERO * mean) ** 2 + 1e-300))
        return estimate, t, z_of(t, df), df


def z_of(t: Floats, df: Floats) -> Floats:
    """Give the normal number that is as far out as t, with its sign."""
    tail = np.maximum(scipy.special.stdtr(df, -np.abs(t)), LEAST_TAIL)
    return np.asarray(-np.sign(t) * scipy.special.ndtri(tail))


def two_sample(
    kind: Analysis, mean: Floats, first: Floats, second: Floats, n: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """Give what Welch's or Student's test needs, from the sums of squared deviations."""
    test, ddof = kind
    if test == "student":
        df = np.full_like(mean, n[0] + n[1] - 2)
        pooled = (first + second) / (n[0] + n[1] - 2 * ddof)
        return mean, pooled * (1 / n[0] + 1 / n[1]), df
    part_a, part_b = first / (n[0] - ddof) / n[0], second / (n[1] - ddof) / n[1]
    total = part_a + part_b
    with np.errstate(invalid="ignore"):
        df = 1 / ((part_a / total) ** 2 / (n[0] - 1) + (part_b / total) ** 2 / (n[1] - 1))
    return mean, total, np.where(total > 0, df, n[0] + n[1] - 2)


class ExchangedSeeds(ArmExchange):
    """Arms of one seed change places; `pairs_URA` has the scores of both arms."""

    allowed = ("paired_t", "welch", "student")

    def __init__(self, pairs_URA: Floats, analyses: Sequence[Analysis]) -> None:
        super().__init__(analyses)
        centred_URA = pairs_URA - pairs_URA.mean(axis=(1, 2), keepdims=True)
        self.n = pairs_URA.shape[1]
        self.d_RU = (centred_URA[:, :, 0] - centred_URA[:, :, 1]).T
        self.m_RU = centred_URA.mean(axis=2).T

    def identity(self) -> Floats:
        """Give the signs that were observed."""
        return np.ones((1, self.n))

    def count(self) -> int:
        """Count all patterns of signs."""
        return int(2**self.n)

    def enumerated(self, first: int, last: int) -> Floats:
        """Give some of all patterns of signs, the observed one first."""
        bits = (np.arange(first, last)[:, None] >> np.arange(self.n)) & 1
        return np.asarray(1.0 - 2.0 * bits)

    def drawn(self, many: int, rng: np.random.Generator) -> Floats:
        """Draw patterns of signs."""
        return np.asarray(1.0 - 2.0 * rng.integers(0, 2, size=(many, self.n)))

    def least_p(self) -> float:
        """Give the least p: exchanging every seed is as extreme as exchanging none."""
        return float(2.0 ** (1 - self.n))

    def moves(self) -> Array:
        """Say in which universes the arms differ in any seed."""
        return np.abs(self.d_RU).max(axis=0) > 0

    def errors(
        self, kind: Analysis, at: Array, arrangement: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Give mean differences, their squared standard errors and degrees of freedom."""
        d_RU, m_RU, n = self.d_RU[:, at], self.m_RU[:, at], self.n
        half_BU = arrangement @ d_RU / 2
        mean = 2 * half_BU / n
        if kind[0] == "paired_t":
            spread = np.maximum((d_RU**2).sum(axis=0) - n * mean**2, 0)
            return mean, spread / (n - kind[1]) / n, np.full_like(mean, n - 1)
        both, cross = (m_RU**2 + d_RU**2 / 4).sum(axis=0), arrangement @ (m_RU * d_RU)
        centre = m_RU.sum(axis=0)
        first = np.maximum(both + cross - (centre + half_BU) ** 2 / n, 0)
        second = np.maximum(both - cross - (centre - half_BU) ** 2 / n, 0)
        return two_sample(kind, mean, first, second, (n, n))


class PermutedLabels(ArmExchange):
    """Labels of arms are permuted among runs; `scores_UK` has those of the first arm first."""

    allowed = ("welch", "student")

    def __init__(self, scores_UK: Floats, n: tuple[int, int], analyses: Sequence[Analysis]) -> None:
        super().__init__(analyses)
        self.y_KU = (scores_UK - scores_UK.mean(axis=1, keepdims=True)).T
        self.n = n

    def identity(self) -> Floats:
        """Give the labels that were observed, 1 for the first arm."""
        return np.r_[np.ones(self.n[0]), np.zeros(self.n[1])][None]

    def count(self) -> int:
        """Count all ways to choose the runs of the first arm."""
        return math.comb(sum(self.n), self.n[0])

    @cached_property
    def _every(self) -> Array:
        chosen = combinations(range(sum(self.n)), self.n[0])
        return np.array(list(islice(chosen, self.count())))

    def enumerated(self, first: int, last: int) -> Floats:
        """Give some of all labellings, the observed one first."""
        chosen = self._every[first:last]
        labels = np.zeros((len(chosen), sum(self.n)))
        np.put_along_axis(labels, chosen, 1.0, axis=1)
        return labels

    def drawn(self, many: int, rng: np.random.Generator) -> Floats:
        """Draw labellings."""
        return rng.permuted(np.repeat(self.identity(), many, axis=0), axis=1)

    def least_p(self) -> float:
        """Give the least p; equal arms have a mirror image that is as extreme."""
        return (2 if self.n[0] == self.n[1] else 1) / self.count()

    def moves(self) -> Array:
        """Say in which universes runs differ at all."""
        return np.ptp(self.y_KU, axis=0) > 0

    def errors(
        self, kind: Analysis, at: Array, arrangement: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Give mean differences, their squared standard errors and degrees of freedom."""
        y_KU, (n_a, n_b) = self.y_KU[:, at], self.n
        sums, squares = arrangement @ y_KU, arrangement @ y_KU**2
        others, rest = y_KU.sum(axis=0) - sums, (y_KU**2).sum(axis=0) - squares
        first = np.maximum(squares - sums**2 / n_a, 0)
        second = np.maximum(rest - others**2 / n_b, 0)
        return two_sample(kind, sums / n_a - others / n_b, first, second, self.n)
