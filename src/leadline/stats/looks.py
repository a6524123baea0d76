"""Adding seeds until it is decided: two ways that keep the error rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leadline.errors import UserError
from leadline.stats.difference import VarianceParts, run_margin_squared, unit_margin_squared

ALPHA = 0.05
PRECISE_SHARE = 0.25


def levels(looks: Sequence[int], alpha: float = ALPHA) -> dict[int, float]:
    """Give each declared look its level: look k of K has k / (1 + 2 + … + K) of alpha.

    Later looks, where a test can find most, get more; together they have alpha.

    Examples
    --------
    >>> levels([3, 5, 10, 20])
    {3: 0.005, 5: 0.01, 10: 0.015, 20: 0.02}

    Raises
    ------
    UserError
        Unless the looks are two or more increasing numbers of seeds, each at least 2.
    """
    whole = all(isinstance(look, int) and not isinstance(look, bool) for look in looks)
    increasing = whole and all(a < b for a, b in zip(looks, looks[1:], strict=False))
    if not increasing or len(looks) < 2 or looks[0] < 2:
        raise UserError(
            "looks must be two or more increasing numbers of seeds, each at least 2",
            got=repr(list(looks)),
            remedy="write for example [3, 5, 10, 20]",
        )
    shares = len(looks) * (len(looks) + 1) // 2
    return {look: round(alpha * at / shares, 12) for at, look in enumerate(looks, start=1)}


LOOKS = levels((3, 5, 10, 20))
MOST_RUNS = 20


def p_over_looks(
    p_by_runs: Mapping[int, float], looks: Mapping[int, float] = LOOKS, alpha: float = ALPHA
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
    if sum(looks.values()) > alpha + 1e-9:
        raise UserError(
            f"the levels of all looks add up to {alpha} at most",
            got=f"{sum(looks.values()):g}",
            remedy="lower the levels",
        )
    return min(1.0, *(p * alpha / looks[runs] for runs, p in p_by_runs.items()))


def precise_enough(found: VarianceParts, alpha: float = ALPHA, most: int = MOST_RUNS) -> bool:
    """Whether to stop adding seeds, by precision and not by the answer: then test once at alpha."""
    runs = run_margin_squared(found, alpha)
    enough = runs <= PRECISE_SHARE * unit_margin_squared(found, alpha)
    return enough or max(found.rows_a, found.rows_b) >= most
