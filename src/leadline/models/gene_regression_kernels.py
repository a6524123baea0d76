"""Loops of the gene-vector heads, compiled: means of neighbours, and Lasso by coordinate descent.

T test rows, K neighbours, G response genes, D components, A values of α.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange, set_num_threads

# Fewer steps are done before a second thread has begun.
FEW_STEPS = 5e6


@contextmanager
def threads_for(steps: float) -> Iterator[None]:
    """Let a loop of few steps run on one thread: on a busy machine the others are waited for."""
    before = get_num_threads()
    set_num_threads(1 if steps < FEW_STEPS else before)
    try:
        yield
    finally:
        set_num_threads(before)


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile for all cores, cached on disk where the disk allows it."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "parallel": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # a read-only install without a home: compile anew in each process
        return njit(**options)(function)


@_compiled
def neighbour_means(y_NG: Any, neighbours_TK: Any, ks: Any) -> Any:
    """Average the responses of the first k neighbours, for every k of an ascending list."""
    tests, genes = neighbours_TK.shape[0], y_NG.shape[1]
    means = np.empty((len(ks), tests, genes))
    for t in prange(tests):
        total_G = np.zeros(genes)
        done = 0
        for at in range(len(ks)):
            for n in range(done, ks[at]):
                row = neighbours_TK[t, n]
                for g in range(genes):
                    total_G[g] += y_NG[row, g]
            done = ks[at]
            for g in range(genes):
                means[at, t, g] = total_G[g] / done
    return means


@_compiled
def neighbour_errors(gram_PP: Any, neighbours_TK: Any, rows_T: Any, ks: Any) -> Any:
    """Return ‖y − mean of the first k neighbours‖ for every k, from inner products of responses.

    The sum over pairs grows by one row of the Gram matrix with each neighbour. Any order of `ks`.
    """
    tests, most = neighbours_TK.shape
    errors = np.empty((len(ks), tests))
    for t in prange(tests):
        own = rows_T[t]
        pairs, cross = np.zeros(most + 1), np.zeros(most + 1)
        for n in range(most):
            row = neighbours_TK[t, n]
            new = gram_PP[row, row]
            for m in range(n):
                new += 2.0 * gram_PP[row, neighbours_TK[t, m]]
            pairs[n + 1] = pairs[n] + new
            cross[n + 1] = cross[n] + gram_PP[row, own]
        for at in range(len(ks)):
            k = ks[at]
            squared = gram_PP[own, own] - 2.0 * cross[k] / k + pairs[k] / (k * k)
            errors[at, t] = np.sqrt(max(squared, 0.0))
    return errors


@_compiled
def coordinate_descent(
    gram_DD: Any, product_GD: Any, spread_G: Any, alphas_A: Any, tol: float, most: int
) -> Any:
    """Solve the Lasso of every gene at descending α, each from the solution before.

    Gram form: the gradient of gene g is product − gram @ w, kept up to date after each step, so a
    coefficient that stays at zero costs one comparison. More than `most` sweeps means that it did
    not converge.
    """
    genes, width = product_GD.shape
    coef_AGD = np.zeros((len(alphas_A), genes, width))
    sweeps_AG = np.zeros((len(alphas_A), genes), dtype=np.int64)
    for g in prange(genes):
        w_D = np.zeros(width)
        gradient_D = product_GD[g].copy()
        limit = tol * spread_G[g]
        for a in range(len(alphas_A)):
            alpha = alphas_A[a]
            sweep = 0
            while sweep <= most:
                sweep += 1
                largest = 0.0
                for d in range(width):
                    curvature = gram_DD[d, d]
                    if curvature <= 0.0:
                        continue
                    pull = gradient_D[d] + curvature * w_D[d]
                    if pull > alpha:
                        new = (pull - alpha) / curvature
                    elif pull < -alpha:
                        new = (pull + alpha) / curvature
                    else:
                        new = 0.0
                    step = new - w_D[d]
                    if step != 0.0:
                        w_D[d] = new
                        for e in range(width):
                            gradient_D[e] -= step * gram_DD[d, e]
                        largest = max(largest, abs(step) * np.sqrt(curvature))
                if largest <= limit:
                    break
            sweeps_AG[a, g] = sweep
            coef_AGD[a, g] = w_D
    return coef_AGD, sweeps_AG
