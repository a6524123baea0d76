"""One problem, two ways to its optimum: scikit-learn's liblinear and our own path.

Both give a `PathFit`, so that everything behind them (scores, certificates, records) is shared.
Shapes: C cells, G genes, K classes, J problems, R values of the regularisation C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.config import LogregConfig
from leadline.models.logreg.l1.fista import BatchFit, fit_batch
from leadline.models.logreg.l1.objective import duality_gap, gradient, objective
from leadline.models.logreg.l1.path import PathFit, fit_path

Rows = NDArray[np.int64]

# What each solver takes for its limit where model.max_iterations is null.
LIBLINEAR_ITERATIONS, PATH_ROUNDS = 100, 200
# liblinear stops by a rule of its own, and the gap bounds the excess of its objective loosely: on
# pbmc68k_reduced a gap of 8 % went with an excess of 0.13 % (C = 1), 42 % with 3.6 % (C = 10).
LIBLINEAR_GAP = 0.1


def solve(
    matrix_CG: sparse.csr_array,
    labels_C: NDArray[np.int32],
    grid: Sequence[float] | NDArray[np.float64],
    fold: Rows,
    config: LogregConfig,
    *,
    seed: int,
    threads: int,
) -> PathFit:
    """Solve the whole grid, ascending, for the cells of one fold."""
    if config.solver == "liblinear":
        return liblinear(matrix_CG, labels_C, grid, fold, config, seed)
    (fit,) = fit_path(
        matrix_CG,
        labels_C,
        grid,
        rows=[fold],
        weights=cell_weights(labels_C, fold, config.class_weight),
        l1_ratio=config.l1_ratio,
        multinomial=config.multinomial,
        tol=config.tolerance,
        max_iter=config.max_iterations or PATH_ROUNDS,
        threads=threads,
    )
    return fit


def cell_weights(labels_C: NDArray[np.int32], fold: Rows, rule: str) -> NDArray[np.float64] | None:
    """Weigh cells inversely to the size of their class in the fold, mean 1; None for equal."""
    if rule == "none":
        return None
    cells_K = np.bincount(labels_C[fold], minlength=int(labels_C.max()) + 1)
    weight_K = len(fold) / (np.count_nonzero(cells_K) * np.maximum(cells_K, 1))
    return np.asarray(weight_K[labels_C])


def liblinear(
    matrix_CG: sparse.csr_array,
    labels_C: NDArray[np.int32],
    grid: Sequence[float] | NDArray[np.float64],
    fold: Rows,
    config: LogregConfig,
    seed: int,
) -> PathFit:
    """Fit each class against the rest at each C, as scikit-learn's one-vs-rest wrapper does.

    liblinear draws from one generator of the process: fits in threads would not be reproducible.
    """
    from sklearn.linear_model import LogisticRegression

    weights = cell_weights(labels_C, fold, config.class_weight)
    present = np.unique(labels_C[fold]).astype(np.int64)
    problems_J = present if len(present) > 2 else present[1:]
    problem = Problem(
        matrix_CG=matrix_CG[fold],
        target_CJ=np.where(labels_C[fold][:, None] == problems_J, 1.0, -1.0),
        weight_C=None if weights is None else weights[fold],
    )
    cs_R = np.unique(np.asarray(grid, dtype=np.float64))
    coef_RJG = np.zeros((len(cs_R), len(problems_J), matrix_CG.shape[1] + 1))
    rounds_RJ = np.zeros(coef_RJG.shape[:2], dtype=np.int64)
    for r, value in enumerate(cs_R):
        model = LogisticRegression(
            l1_ratio=1.0,
            solver="liblinear",
            C=value,
            tol=config.tolerance,
            max_iter=config.max_iterations or LIBLINEAR_ITERATIONS,
            random_state=seed,
        )
        for j in range(len(problems_J)):
            model.fit(problem.matrix_CG, problem.target_CJ[:, j], sample_weight=problem.weight_C)
            coef_RJG[r, j] = np.append(model.coef_.ravel(), model.intercept_)
            rounds_RJ[r, j] = model.n_iter_[0]
    certificate = [
        problem.certify(coef_JG, value) for coef_JG, value in zip(coef_RJG, cs_R, strict=True)
    ]
    objective_RJ, gap_RJ, kkt_RJ = (np.array(part) for part in zip(*certificate, strict=True))
    return PathFit(
        cs_R=cs_R,
        coef_R=[sparse.csr_array(coef_JG) for coef_JG in coef_RJG],
        present=present,
        problems_J=problems_J,
        classes=int(labels_C.max()) + 1,
        multinomial=False,
        objective_RJ=objective_RJ,
        gap_RJ=gap_RJ,
        kkt_RJ=kkt_RJ,
        nnz_RJ=np.count_nonzero(coef_RJG, axis=2),
        iterations_RJ=rounds_RJ,
        converged_RJ=gap_RJ <= LIBLINEAR_GAP * objective_RJ,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What one fold asks: cells, targets of +1 and -1 for each class, weights of cells."""

    matrix_CG: sparse.csr_array
    target_CJ: NDArray[np.float64]
    weight_C: NDArray[np.float64] | None

    def certify(
        self, coef_JG: NDArray[np.float64], value: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Give objective, duality gap and worst violation of the optimality conditions."""
        parts = (self.matrix_CG, self.target_CJ, coef_JG, value)
        slope_JG = gradient(*parts, weights=self.weight_C)
        off_JG = np.where(
            coef_JG != 0,
            np.abs(slope_JG + np.sign(coef_JG)),
            np.maximum(np.abs(slope_JG) - 1.0, 0.0),
        )
        return (
            objective(*parts, weights=self.weight_C),
            duality_gap(*parts, weights=self.weight_C),
            off_JG.max(axis=1),
        )


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
