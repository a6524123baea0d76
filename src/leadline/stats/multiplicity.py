"""Corrections over a declared family of tests: the caller names every member, none is implied."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from leadline.errors import UserError
from leadline.stats.inputs import Floats


def holm(family: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values by Holm's step-down method: controls the chance of any false finding."""
    ordered = _ascending(family)
    n = len(ordered)
    scaled = np.array([p for _, p in ordered]) * (n - np.arange(n))
    return _in_order(family, ordered, np.maximum.accumulate(scaled))


def _ascending(family: Mapping[str, float]) -> list[tuple[str, float]]:
    if not family:
        raise UserError(
            "a family of tests must have members",
            got="none",
            remedy="declare the tests that belong together",
        )
    for name, p in family.items():
        if not 0.0 <= p <= 1.0:
            raise UserError(
                "p-values must lie between 0 and 1",
                got=f"{p} for {name}",
                remedy="leave a test that could not be computed out of the family, and say so",
            )
    return sorted(family.items(), key=lambda item: item[1])


def _in_order(
    family: Mapping[str, float], ordered: list[tuple[str, float]], adjusted: Floats
) -> dict[str, float]:
    by_name = {name: min(1.0, float(p)) for (name, _), p in zip(ordered, adjusted, strict=True)}
    return {name: by_name[name] for name in family}
