"""What the numbers of a matrix are: counts, a logarithm of which base and total, or z-scores.

The idea: normalised counts of one cell are integers times one unit, total / library size. Under
the right base of the logarithm those multiples appear and under the wrong ones they do not, even
if the matrix holds only some genes. The total shows as the sum of every cell if all genes are
there; otherwise 10,000 / unit must be an integer, the library size.

Shapes: S sampled cells, N values of one cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.cells import TARGET_SUM, Scale
from leadline.data.cells.checks import Survey, gene_moments, survey

SAMPLE_CELLS = 256
# Multiples above this one tell little: their noise is as large as the step between integers.
LARGEST_MULTIPLE = 20
# Mean distance of the multiples from integers; 0.25 is what a wrong base gives.
MULTIPLE_TOLERANCE = 0.05
SUM_TOLERANCE = 5e-3
TOTAL_TOLERANCE = 1e-3
# No cell has a normalised value above this; a base that says so is wrong.
LARGEST_VALUE = 1e7


@dataclass(frozen=True, slots=True)
class Base:
    """A logarithm that may have been taken, and how to undo it."""

    name: str
    undo: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    limit: float
    scale: Scale | None = None


def _undo(base: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda values: np.expm1(values * np.log(base))


BASES = (
    Base("ln", np.expm1, np.log(LARGEST_VALUE), Scale.LN_CP10K),
    Base("log2", _undo(2.0), np.log2(LARGEST_VALUE), Scale.LOG2_CP10K),
    Base("log10", _undo(10.0), np.log10(LARGEST_VALUE)),
    Base("", lambda values: values, LARGEST_VALUE),
)


@dataclass(frozen=True, slots=True)
class ScaleGuess:
    """A scale and, in half a sentence, how it shows."""

    scale: Scale
    how: str


@dataclass(frozen=True, slots=True)
class Units:
    """What the sampled cells look like under one base.

    Attributes
    ----------
    sums_S
        Sum of each cell.
    units_S, errors_S
        The value of one count and its relative standard error; NaN where too few values tell.
    residual
        Mean distance of the multiples from integers, over cells that have multiples.
    share
        Part of those cells whose own mean distance is within the tolerance.
    """

    base: Base
    sums_S: NDArray[np.float64]
    units_S: NDArray[np.float64]
    errors_S: NDArray[np.float64]
    residual: float
    share: float


def recognise(matrix_CG: sparse.csr_array, seen: Survey | None = None) -> ScaleGuess:
    """Say what the values of a matrix are; `seen` spares a second look at all of them."""
    seen = seen or survey(matrix_CG)
    if seen.not_a_number or seen.infinite:
        return ScaleGuess(Scale.OTHER, "it has values that are not finite")
    if seen.negative:
        return _with_negatives(matrix_CG, seen)
    if seen.integral:
        binary = seen.largest <= 1 and seen.stored > 0
        note = ", none above 1: it may have been binarised" if binary else ""
        return ScaleGuess(Scale.COUNTS, f"all values are non-negative integers{note}")
    values_N, starts_S = _sample(matrix_CG)
    under = [units_under(base, values_N, starts_S) for base in BASES if seen.largest <= base.limit]
    return _by_sums(under) or _by_multiples(under) or _unknown(seen)


def units_under(base: Base, values_N: NDArray[np.float64], starts_S: NDArray[np.int64]) -> Units:
    """Undo one base in every sampled cell and look for the value of one count."""
    undone_N = base.undo(values_N)
    units_S, errors_S, residual_S = units_of(undone_N, starts_S)
    told_S = np.isfinite(residual_S)
    return Units(
        base=base,
        sums_S=np.add.reduceat(undone_N, starts_S),
        units_S=units_S,
        errors_S=errors_S,
        residual=float(residual_S[told_S].mean()) if told_S.any() else np.nan,
        share=float((residual_S[told_S] < MULTIPLE_TOLERANCE).mean()) if told_S.any() else 0.0,
    )


def units_of(
    values_N: NDArray[np.float64], starts_S: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Find the value of one count in each cell: units, relative errors, distance from multiples.

    The smallest value is taken for one count. The distance is the mean over the values of two
    counts and more; NaN where there are fewer than three of them. No cell may be empty.
    """
    n_cells = starts_S.size
    cells_N = np.repeat(np.arange(n_cells), np.diff(starts_S, append=values_N.size))
    lowest_S = np.minimum.reduceat(values_N, starts_S)
    near_N = values_N < (LARGEST_MULTIPLE + 0.5) * lowest_S[cells_N]
    values_N, cells_N = values_N[near_N], cells_N[near_N]

    def mean_S(values: NDArray[np.float64], cells: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(cells, values, n_cells) / np.bincount(cells, minlength=n_cells)

    # The smallest of many noisy values lies too low; the mean of all that are about one does not.
    single_N = values_N < 1.5 * lowest_S[cells_N]
    multiples_N = values_N / mean_S(values_N[single_N], cells_N[single_N])[cells_N]
    counts_N = np.maximum(np.rint(multiples_N), 1.0)
    several_N = counts_N >= 2
    away_N, cells_of_several_N = np.abs(multiples_N - counts_N)[several_N], cells_N[several_N]
    enough_S = np.bincount(cells_of_several_N, minlength=n_cells) >= 3
    with np.errstate(invalid="ignore"):
        residual_S = np.where(enough_S, mean_S(away_N, cells_of_several_N), np.nan)
    units_S = np.bincount(cells_N, values_N, n_cells) / np.bincount(cells_N, counts_N, n_cells)
    spread_N = values_N / counts_N / units_S[cells_N] - 1
    # Not the error of the mean, which is smaller: values rounded to a few digits are all off by
    # the same amount. Without values of several counts there is no telling how far.
    errors_S = np.where(enough_S, np.sqrt(mean_S(spread_N**2, cells_N)), np.nan)
    return units_S, errors_S, residual_S


def integer_libraries(
    units_S: NDArray[np.float64], errors_S: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Divide 10,000 by the units: library sizes, where that is precise enough, where integer."""
    libraries_S = TARGET_SUM / units_S
    # float32 logarithms give a unit to about 2e-7.
    # A cell may look precise by accident, so none counts as more so than the usual cell.
    told_S = errors_S[np.isfinite(errors_S)]
    usual = float(np.median(told_S)) if told_S.size else np.nan
    precise_S = libraries_S * (3 * np.maximum(errors_S, usual) + 2e-7) < 0.1
    integer_S = np.abs(libraries_S - np.rint(libraries_S)) < 0.15
    return libraries_S, precise_S, precise_S & integer_S


def whole_libraries(units: Units) -> bool | None:
    """Whether 10,000 is a whole number of units in most cells; None if the values are too noisy."""
    _, precise_S, integer_S = integer_libraries(units.units_S, units.errors_S)
    if precise_S.sum() < 5:
        return None
    return bool(integer_S.sum() >= 0.9 * precise_S.sum())


def _by_sums(under: list[Units]) -> ScaleGuess | None:
    """If all genes are there, every cell has the same sum under the right base."""
    best: tuple[float, float, Units] | None = None
    for units in under:
        total = float(np.median(units.sums_S))
        spread = float(np.quantile(np.abs(units.sums_S / total - 1), 0.95))
        usual = abs(total / TARGET_SUM - 1) < TOTAL_TOLERANCE
        # A few cells may agree by accident, so they must agree on the usual total as well.
        enough = units.sums_S.size >= 5 or usual
        if spread < SUM_TOLERANCE and enough and (best is None or spread < best[0]):
            best = (spread, total, units)
    if best is None:
        return None
    spread, total, units = best
    if abs(total / TARGET_SUM - 1) < TOTAL_TOLERANCE:
        if units.base.scale is None:
            return _other_base(units.base, "10,000 in every cell")
        return ScaleGuess(
            units.base.scale, f"with the {units.base.name} undone every cell sums to 10,000"
        )
    nearly_all = 0.9 * TARGET_SUM < total < TARGET_SUM and units.base.scale is not None
    if nearly_all and whole_libraries(units):
        return None  # a few genes are missing: the sums are just below the total
    if not units.base.name:
        return _other_base(units.base, f"{total:,.0f} in every cell")
    return ScaleGuess(
        Scale.LOG_OTHER,
        f"with the {units.base.name} undone every cell sums to {total:,.0f}, not 10,000",
    )


def _by_multiples(under: list[Units]) -> ScaleGuess | None:
    """If genes are missing, the base is the one under which values are multiples of a unit."""
    told = [units for units in under if np.isfinite(units.residual)]
    if not told:
        return None
    told.sort(key=lambda units: units.residual)
    best = told[0]
    if best.share < 0.9 or best.residual >= MULTIPLE_TOLERANCE:
        return None
    if len(told) > 1 and told[1].residual < 2 * best.residual:
        return None
    if best.base.scale is None:
        return _other_base(best.base, "multiples of one unit in each cell")
    return _total_of(best, best.base.scale)


def _total_of(units: Units, scale: Scale) -> ScaleGuess:
    """Tell 10,000 from other totals where the genes are not all there."""
    name = units.base.name
    highest = float(units.sums_S.max())
    if highest > TARGET_SUM * (1 + SUM_TOLERANCE):
        return ScaleGuess(
            Scale.LOG_OTHER, f"with the {name} undone cells sum to as much as {highest:,.0f}"
        )
    start = f"with the {name} undone the values of a cell are multiples of the smallest"
    whole = whole_libraries(units)
    if whole is None:
        return ScaleGuess(
            scale, f"{start}, too noisy to tell their total, for which 10,000 is assumed"
        )
    if not whole:
        return ScaleGuess(
            Scale.LOG_OTHER, f"{start}, but 10,000 is not a whole number of these in most cells"
        )
    libraries_S, _, integer_S = integer_libraries(units.units_S, units.errors_S)
    shared = int(np.gcd.reduce(np.rint(libraries_S[integer_S]).astype(np.int64)))
    if shared > 1 and integer_S.sum() >= 8:
        return ScaleGuess(
            Scale.LOG_OTHER, f"{start}, and their total is {TARGET_SUM / shared:,.0f}, not 10,000"
        )
    return ScaleGuess(scale, f"{start}, and 10,000 is a whole number of these, the library size")


def _other_base(base: Base, what: str) -> ScaleGuess:
    if base.name:
        return ScaleGuess(Scale.LOG_OTHER, f"with the {base.name} undone it has {what}")
    return ScaleGuess(Scale.OTHER, f"it has {what}: normalised counts without a logarithm")


def _with_negatives(matrix_CG: sparse.csr_array, seen: Survey) -> ScaleGuess:
    if seen.integral:
        return ScaleGuess(
            Scale.OTHER, f"all values are integers, {seen.negative:,} of them negative"
        )
    means_G, deviations_G = gene_moments(matrix_CG)
    vary_G = deviations_G > 0
    if vary_G.any():
        off = float(np.median(np.abs(means_G[vary_G]) / deviations_G[vary_G]))
        if off < 0.25:
            return ScaleGuess(
                Scale.ZSCORED, "it has negative values and the genes have means near 0"
            )
    return ScaleGuess(Scale.OTHER, "it has negative values but the genes do not have means near 0")


def _unknown(seen: Survey) -> ScaleGuess:
    whole = 1 - seen.fractional / seen.stored
    return ScaleGuess(
        Scale.OTHER,
        f"{whole:.1%} of the values are integers, the largest is {seen.largest:.4g}, and no "
        "logarithm of normalised counts explains them",
    )


def sample_rows(n_cells: int) -> NDArray[np.int64]:
    """Choose cells evenly over the file, always the same ones."""
    return np.unique(np.linspace(0, n_cells - 1, SAMPLE_CELLS).astype(np.int64))


def _sample(matrix_CG: sparse.csr_array) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the values of the sampled cells in a row, and where each cell begins; no empty ones."""
    part_SG = matrix_CG[sample_rows(matrix_CG.shape[0])]
    lengths_S = np.diff(part_SG.indptr)
    return part_SG.data.astype(np.float64), part_SG.indptr[:-1][lengths_S > 0].astype(np.int64)
