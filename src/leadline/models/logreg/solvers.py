"""One problem, two ways to its optimum: scikit-learn's liblinear and our own path.

Both give a `PathFit`, so that everything behind them (scores, certificates, records) is shared.
Shapes: C cells, G genes, K classes, J problems, R values of the regularisation C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.config import LogregConfig
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
    problem = LiblinearCheck(
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
class LiblinearCheck:
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
