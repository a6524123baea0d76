"""What is asked of a solution of the L1 path, and what is known of it: violations and dual values.

Shapes: C cells, G columns (genes, then the constant 1), J problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked of a path."""

    l1: float
    l2: float
    tol: float
    max_iter: int
    multinomial: bool

    def satisfied(self, objective: float, gap: float, kkt: float) -> bool:
        """Say whether a solution has converged: the gap is of the second order in the violation."""
        return bool(gap <= self.tol * objective and kkt <= self.tol**0.5)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of each problem at one C."""

    objective_J: Floats
    gap_J: Floats
    kkt_J: Floats
    iterations_J: NDArray[np.int64]
    converged_J: NDArray[np.bool_]


def violations(slope_G: Floats, weight_G: Floats, settings: Settings) -> Floats:
    """Return how far each weight is from its optimality condition."""
    total_G = slope_G + settings.l2 * weight_G
    return np.where(
        weight_G != 0.0,
        np.abs(total_G + settings.l1 * np.sign(weight_G)),
        np.maximum(np.abs(total_G) - settings.l1, 0.0),
    )


def dual_value(slope_G: Floats, entropy: Callable[[float], float], settings: Settings) -> float:
    """Return the better of two dual values: the residuals as they are, or scaled to be feasible."""
    feasible = min(1.0, settings.l1 / max(float(np.abs(slope_G).max()), 1e-300))
    if settings.l2 == 0.0:
        return float(entropy(feasible))
    values = []
    for scale in (feasible, 1.0):
        excess = np.maximum(scale * np.abs(slope_G) - settings.l1, 0.0)
        values.append(entropy(scale) - float((excess**2).sum()) / (2.0 * settings.l2))
    return max(values)


def softmax_entropy(
    residual_JC: Floats, hit_JC: NDArray[np.bool_], cost_C: Floats, scale: float
) -> float:
    """Return the smooth part of the multinomial dual at the scaled residuals."""
    some = cost_C > 0.0
    chance = np.maximum(hit_JC[:, some] + scale * residual_JC[:, some] / cost_C[some], 1e-300)
    return float(-(cost_C[some] * chance * np.log(chance)).sum())
