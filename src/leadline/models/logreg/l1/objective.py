"""What the L1 path minimises, in plain numpy: the definitions that certificates are tested against.

Shapes: C cells, G columns (genes, then the intercept), J problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax, xlogy

Floats = NDArray[np.float64]


def objective(
    X: Any,
    target_CJ: NDArray[Any],
    coef_JG: NDArray[Any],
    c: float,
    *,
    weights: NDArray[Any] | None = None,
    l1_ratio: float = 1.0,
    multinomial: bool = False,
) -> Floats:
    """Return the objective of each problem; of the one problem, as one value, if multinomial.

    `target_CJ` is +1 where the cell is of the class of the problem, else -1; `coef_JG` has the
    intercept last.
    """
    weight_C = np.ones(len(target_CJ)) if weights is None else np.asarray(weights, np.float64)
    score_CJ = _scores(X, coef_JG)
    penalty_J = l1_ratio * np.abs(coef_JG).sum(axis=1)
    penalty_J = penalty_J + (1.0 - l1_ratio) / 2.0 * (coef_JG**2).sum(axis=1)
    if not multinomial:
        return np.asarray(penalty_J + c * weight_C @ np.logaddexp(0.0, -target_CJ * score_CJ))
    loss_C = logsumexp(score_CJ, axis=1) - np.where(target_CJ > 0, score_CJ, 0.0).sum(axis=1)
    return np.array([penalty_J.sum() + c * weight_C @ loss_C])


def gradient(
    X: Any,
    target_CJ: NDArray[Any],
    coef_JG: NDArray[Any],
    c: float,
    *,
    weights: NDArray[Any] | None = None,
    multinomial: bool = False,
) -> Floats:
    """Return the gradient of the loss (times C) by every weight; the intercept last."""
    weight_C = np.ones(len(target_CJ)) if weights is None else np.asarray(weights, np.float64)
    residual_CJ = _residuals(X, target_CJ, coef_JG, multinomial) * (c * weight_C)[:, None]
    slope_JG = np.asarray(X.T.astype(np.float64) @ residual_CJ).T
    return np.hstack([slope_JG, residual_CJ.sum(axis=0)[:, None]])


def duality_gap(
    X: Any,
    target_CJ: NDArray[Any],
    coef_JG: NDArray[Any],
    c: float,
    *,
    weights: NDArray[Any] | None = None,
    l1_ratio: float = 1.0,
    multinomial: bool = False,
) -> Floats:
    """Return an upper bound of the distance of each objective from its minimum."""
    weight_C = np.ones(len(target_CJ)) if weights is None else np.asarray(weights, np.float64)
    residual_CJ = _residuals(X, target_CJ, coef_JG, multinomial)
    slope_JG = gradient(X, target_CJ, coef_JG, c, weights=weight_C, multinomial=multinomial)
    if multinomial:
        slope_JG = slope_JG.reshape(1, -1)
    feasible_J = np.minimum(1.0, l1_ratio / np.maximum(np.abs(slope_JG).max(axis=1), 1e-300))
    best_J = np.full(len(slope_JG), -np.inf)
    for scale_J in (feasible_J, np.ones_like(feasible_J)):
        excess_JG = np.maximum(scale_J[:, None] * np.abs(slope_JG) - l1_ratio, 0.0)
        if multinomial:
            chance_CJ = (target_CJ > 0) + scale_J * residual_CJ
            dual_J = np.array([-c * weight_C @ xlogy(chance_CJ, chance_CJ).sum(axis=1)])
        else:
            share_CJ = scale_J * np.abs(residual_CJ)
            entropy_CJ = xlogy(share_CJ, share_CJ) + xlogy(1.0 - share_CJ, 1.0 - share_CJ)
            dual_J = -c * weight_C @ entropy_CJ
        if l1_ratio < 1.0:
            dual_J = dual_J - (excess_JG**2).sum(axis=1) / (2.0 * (1.0 - l1_ratio))
        elif scale_J is not feasible_J:
            continue  # pure L1 has no value off the feasible set
        best_J = np.maximum(best_J, dual_J)
    value_J = objective(
        X, target_CJ, coef_JG, c, weights=weight_C, l1_ratio=l1_ratio, multinomial=multinomial
    )
    return np.asarray(value_J - best_J)


def _scores(X: Any, coef_JG: NDArray[Any]) -> Floats:
    return np.asarray(X.astype(np.float64) @ coef_JG[:, :-1].T + coef_JG[:, -1])


def _residuals(X: Any, target_CJ: NDArray[Any], coef_JG: NDArray[Any], multinomial: bool) -> Floats:
    """Return the derivative of the loss by the scores, without C and weights."""
    score_CJ = _scores(X, coef_JG)
    if multinomial:
        return np.asarray(softmax(score_CJ, axis=1) - (target_CJ > 0))
    return np.asarray(-target_CJ * expit(-target_CJ * score_CJ))


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
