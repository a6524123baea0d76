"""Adding seeds until it is decided: two ways that keep the error rate."""

from __future__ import annotations

from collections.abc import Mapping

from leadline.errors import UserError
from leadline.stats.difference import VarianceParts, run_margin_squared, unit_margin_squared

LOOKS: dict[int, float] = {3: 0.005, 5: 0.01, 10: 0.015, 20: 0.02}
MOST_RUNS = 20
PRECISE_SHARE = 0.25


def p_over_looks(
    p_by_runs: Mapping[int, float], looks: Mapping[int, float] = LOOKS, alpha: float = 0.05
) -> float:
    """Correct p for declared looks: the least of p times alpha over the look's level; before Holm.

    Valid by the union bound, whatever the dependence and whatever stops the study.
    """
    undeclared = sorted(set(p_by_runs) - set(looks))
    if undeclared or not p_by_runs:
        raise UserError(
            "a look must be declared before the study",
            got=", ".join(map(str, undeclared)) or "no look",
            remedy=f"look at {', '.join(map(str, looks))} runs",
        )
    if sum(looks.values()) > alpha + 1e-12:
        raise UserError(
            f"the levels of all looks add up to {alpha} at most",
            got=f"{sum(looks.values()):g}",
            remedy="lower the levels",
        )
    return min(1.0, *(p * alpha / looks[runs] for runs, p in p_by_runs.items()))


def precise_enough(found: VarianceParts, alpha: float = 0.05) -> bool:
    """Whether to stop adding seeds, by precision and not by the answer: then test once at alpha."""
    runs = run_margin_squared(found, alpha)
    enough = runs <= PRECISE_SHARE * unit_margin_squared(found, alpha)
    return enough or max(found.rows_a, found.rows_b) >= MOST_RUNS
