"""What every statistic asks of its numbers: finite, one-dimensional, enough of them.

All functions return new arrays; the caller's data are never written to.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
RELATIVE_ZERO = 1e-12


def scores(values: npt.ArrayLike, *, name: str = "scores", minimum: int = 2) -> Floats:
    """Copy the scores of one arm, one per run; refuse what no test can use."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        remedy = "drop or rerun the runs without a number"
        raise UserError(f"{name} must be numbers", got=repr(values)[:80], remedy=remedy) from error
    if array.ndim != 1:
        raise UserError(
            f"{name} must be one number per run",
            got=f"an array of shape {array.shape}",
            remedy="pass one metric of one arm at a time",
        )
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise UserError(
            f"{name} must be finite",
            got=f"{bad} NaN or infinite of {array.size}",
            remedy="drop or rerun the runs that have no score, and report how many",
        )
    if array.size < minimum:
        raise UserError(
            f"{name} must hold at least {minimum} runs",
            got=f"{array.size}",
            remedy="run more seeds, or compare the other arm with this one number (one_sample)",
        )
    return array


def is_constant(values: Floats) -> bool:
    """Whether the scores are equal up to rounding of the floating point."""
    return bool(np.ptp(values) <= RELATIVE_ZERO * np.abs(values).max())


def varying(values: npt.ArrayLike, *, name: str = "scores") -> Floats:
    """Copy the scores of one arm; refuse an arm whose runs all agree."""
    array = scores(values, name=name)
    if is_constant(array):
        raise UserError(
            f"{name} must vary between runs",
            got=f"{array.size} runs with the value {array[0]:.6g}",
            remedy="report the value alone: a deterministic model has no spread over runs",
        )
    return array


def two_arms(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Copy the scores of two arms of which at least one varies."""
    scores_a, scores_b = scores(a, name="arm a"), scores(b, name="arm b")
    if is_constant(scores_a) and is_constant(scores_b):
        raise UserError(
            "a test over runs needs an arm that varies",
            got=f"the constants {scores_a[0]:.6g} and {scores_b[0]:.6g}",
            remedy="compare their predictions cell by cell (crossed, mcnemar)",
        )
    return scores_a, scores_b


def differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Take a - b pair by pair; refuse arms of unequal length and differences that all agree."""
    scores_a, scores_b = scores(a, name="arm a"), scores(b, name="arm b")
    if scores_a.size != scores_b.size:
        raise UserError(
            "paired arms must have one run per pair",
            got=f"{scores_a.size} and {scores_b.size} runs",
            remedy="match them by seed first (pair_by_seed), or use an unpaired test",
        )
    difference: Floats = scores_a - scores_b
    scale = max(np.abs(scores_a).max(), np.abs(scores_b).max())
    if np.ptp(difference) <= RELATIVE_ZERO * scale:
        raise UserError(
            "paired differences must vary",
            got=f"{difference.size} differences of {difference[0]:.6g}",
            remedy="check that the two arms are different runs; report the difference alone",
        )
    return difference


def pair_by_seed(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    seeds_a: Sequence[Hashable | None],
    seeds_b: Sequence[Hashable | None],
) -> tuple[Floats, Floats, int]:
    """Match two arms on the seeds they share, in the order of arm a.

    A seed that is None or NaN is unknown: its run is left out of the pairs, never guessed.
    Returns the matched scores and the number of runs, of both arms, that found no partner.
    """
    scores_a, scores_b = scores(a, name="arm a"), scores(b, name="arm b")
    index_a, index_b = _seed_index(scores_a, seeds_a, "a"), _seed_index(scores_b, seeds_b, "b")
    shared = [seed for seed in index_a if seed in index_b]
    if len(shared) < 2:
        raise UserError(
            "pairing needs at least two seeds that both arms have",
            got=f"{len(shared)} shared",
            remedy="run both arms on the same seeds, or use an unpaired test",
        )
    left_out = scores_a.size + scores_b.size - 2 * len(shared)
    chosen_a = scores_a[[index_a[seed] for seed in shared]]
    chosen_b = scores_b[[index_b[seed] for seed in shared]]
    return chosen_a, chosen_b, left_out


def _seed_index(values: Floats, seeds: Sequence[Hashable | None], arm: str) -> dict[Hashable, int]:
    if len(seeds) != values.size:
        raise UserError(
            f"arm {arm} must have one seed per run",
            got=f"{len(seeds)} seeds for {values.size} runs",
            remedy="pass None for a run whose seed is unknown",
        )
    index: dict[Hashable, int] = {}
    for position, seed in enumerate(seeds):
        # pandas marks a missing integer with NA, whose truth value is an error: compare by type.
        if seed is None or type(seed).__name__ == "NAType" or seed != seed:
            continue
        if seed in index:
            raise UserError(
                f"a seed may occur once in arm {arm}",
                got=f"seed {seed} twice",
                remedy="keep one run per seed: a run counted twice is not a replicate",
            )
        index[seed] = position
    return index


def half_widths(widths: npt.ArrayLike, n: int) -> Floats:
    """Copy the half-widths within which each of n numbers is known; one width serves all."""
    array = np.array(widths, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(n, float(array))
    if array.shape != (n,) or not np.isfinite(array).all() or (array < 0).any():
        raise UserError(
            "precision must be one half-width >= 0 per run",
            got=f"{np.array2string(array, threshold=6)} for {n} runs",
            remedy="use 0 for numbers known in full",
        )
    return array


def probability(value: float, name: str) -> float:
    """Return a level, error rate or power strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise UserError(
            f"{name} must lie between 0 and 1", got=f"{value}", remedy="write 95 % as 0.95"
        )
    return float(value)
