"""What the L1 path minimises, in plain numpy: the definitions that certificates are tested against.

Shapes: C cells, G columns (genes, then the intercept), J problems.
"""

from __future__ import annotations

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
