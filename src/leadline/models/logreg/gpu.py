"""The small values of C of every fold and class in one batch on a device; the rest by the path.

Shapes: C cells, G genes, B problems, J problems of a fold, R values of the regularisation C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.config import LogregConfig
from leadline.models.logreg.l1.fista import BatchFit, fit_batch
from leadline.models.logreg.l1.path import PathFit
from leadline.models.logreg.solvers import Rows, cell_weights, solve

# Above this the batch needs thousands of steps, and the Newton path on the CPU is faster.
LARGEST_C = 1.0
STEPS = 5_000


def solve_folds(
    matrix_CG: sparse.csr_array,
    labels_C: NDArray[np.int32],
    grid: Sequence[float],
    folds: Sequence[Rows],
    config: LogregConfig,
    *,
    threads: int,
    device: str,
) -> list[PathFit]:
    """Solve the grid for each fold; what the batch did not bring to its optimum is done again."""
    cs_R = np.unique(np.asarray(grid, dtype=np.float64))
    small, large = cs_R[cs_R <= LARGEST_C], cs_R[cs_R > LARGEST_C]
    batched = batch(matrix_CG, labels_C, small, folds, config, device) if len(small) else []
    fits = []
    for f, fold in enumerate(folds):
        parts = [batched[f]] if len(small) else []
        if parts and not parts[0].converged_RJ.all():
            parts = [solve(matrix_CG, labels_C, small, fold, config, seed=0, threads=threads)]
        if len(large):
            parts.append(solve(matrix_CG, labels_C, large, fold, config, seed=0, threads=threads))
        fits.append(parts[0] if len(parts) == 1 else joined(*parts))
    return fits


def batch(
    matrix_CG: sparse.csr_array,
    labels_C: NDArray[np.int32],
    cs_R: NDArray[np.float64],
    folds: Sequence[Rows],
    config: LogregConfig,
    device: str,
) -> list[PathFit]:
    """Solve every class of every fold at every C at once."""
    present = [np.unique(labels_C[fold]).astype(np.int64) for fold in folds]
    problems = [classes if len(classes) > 2 else classes[1:] for classes in present]
    target, weight, strength = [], [], []
    for fold, classes in zip(folds, problems, strict=True):
        weights = cell_weights(labels_C, fold, config.class_weight)
        inside_C = np.zeros(len(labels_C))
        inside_C[fold] = 1.0 if weights is None else weights[fold]
        for value in cs_R:
            for k in classes:
                target.append(np.where(labels_C == k, 1.0, -1.0))
                weight.append(inside_C)
                strength.append(value)
    found = fit_batch(
        matrix_CG,
        np.array(target),
        np.array(weight),
        np.array(strength),
        tol=config.tolerance,
        max_steps=STEPS,
        device=device,
    )
    fits, start = [], 0
    for f, classes in enumerate(problems):
        stop = start + len(cs_R) * len(classes)
        fits.append(of_fold(found, slice(start, stop), cs_R, present[f], classes, labels_C, config))
        start = stop
    return fits


def of_fold(
    found: BatchFit,
    part: slice,
    cs_R: NDArray[np.float64],
    present: NDArray[np.int64],
    problems_J: NDArray[np.int64],
    labels_C: NDArray[np.int32],
    config: LogregConfig,
) -> PathFit:
    """Cut one fold's solutions out of the batch."""
    shape = len(cs_R), len(problems_J)
    coef_RJG = found.coef_BG[part].reshape(*shape, -1)
    objective_RJ, gap_RJ = found.objective_B[part].reshape(shape), found.gap_B[part].reshape(shape)
    return PathFit(
        cs_R=cs_R,
        coef_R=[sparse.csr_array(coef_JG) for coef_JG in coef_RJG],
        present=present,
        problems_J=problems_J,
        classes=int(labels_C.max()) + 1,
        multinomial=False,
        objective_RJ=objective_RJ,
        gap_RJ=gap_RJ,
        kkt_RJ=found.kkt_B[part].reshape(shape),
        nnz_RJ=np.count_nonzero(coef_RJG, axis=2),
        iterations_RJ=found.steps_B[part].reshape(shape),
        converged_RJ=gap_RJ <= config.tolerance * objective_RJ,
    )


def joined(small: PathFit, large: PathFit) -> PathFit:
    """Put the solutions at larger C behind those at smaller C."""

    def both(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(small, name), getattr(large, name)])

    return replace(
        small,
        cs_R=both("cs_R"),
        coef_R=[*small.coef_R, *large.coef_R],
        objective_RJ=both("objective_RJ"),
        gap_RJ=both("gap_RJ"),
        kkt_RJ=both("kkt_RJ"),
        nnz_RJ=both("nnz_RJ"),
        iterations_RJ=both("iterations_RJ"),
        converged_RJ=both("converged_RJ"),
    )
