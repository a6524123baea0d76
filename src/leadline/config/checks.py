"""What every schema is made with: marks for fields, and checks that explain themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import field
from typing import Any

from leadline.errors import UserError, nearest

# OmegaConf's mark for a value that the composition must supply.
TO_BE_COMPOSED: Any = "???"


def operational(default: Any) -> Any:
    """Declare a field that does not change what a run computes."""
    return field(default=default, metadata={"operational": True})


def added_later(default: Any, *more: Any, is_operational: bool = False) -> Any:
    """Declare a field that older runs did not have; `more` are other words for what they did.

    At these values it is part neither of a run's name nor of its record, which stay as they were.
    """
    known = {"silent_at": (default, *more), "unwritten": True, "operational": is_operational}
    return field(default=default, metadata=known)


def choice(key: str, value: str, known: Iterable[str]) -> None:
    """Refuse a word that is not among the known ones."""
    known = tuple(known)
    if value not in known:
        raise UserError(
            f"{key} must be one of {', '.join(known)}",
            got=repr(value),
            remedy=nearest(value, known),
        )


def within(key: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Refuse a number outside [low, high], or (low, high] with `open_low`."""
    above = value > low if open_low else value >= low
    inside = above and value <= high and math.isfinite(value)
    if not inside:
        bracket = "(" if open_low else "["
        top = f"{int(high)}" if float(high).is_integer() else f"{high:g}"
        ends = f"{bracket}{low:g}, {top}{']' if math.isfinite(high) else ')'}"
        raise UserError(
            f"{key} must lie in {ends}", got=f"{value:.15g}", remedy="choose a value inside it"
        )
