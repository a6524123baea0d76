"""One problem, two ways to its optimum: scikit-learn's liblinear and our own path.

liblinear can be called class by class, or once for all classes as the paper's scikit-learn did.

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
from leadline.errors import UserError
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
    seed: int | np.random.RandomState,
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
    seed: int | np.random.RandomState,
) -> PathFit:
    """Fit each class against the rest at each C, with one call a class or one call for all.

    liblinear draws from one generator of the process: fits in threads would not be reproducible.
    """
    weights = cell_weights(labels_C, fold, config.class_weight)
    present = np.unique(labels_C[fold]).astype(np.int64)
    problems_J = present if len(present) > 2 else present[1:]
    problem = LiblinearProblem(
        matrix_CG=matrix_CG[fold],
        target_CJ=np.where(labels_C[fold][:, None] == problems_J, 1.0, -1.0),
        weight_C=None if weights is None else weights[fold],
        tolerance=config.tolerance,
        max_iterations=config.max_iterations or LIBLINEAR_ITERATIONS,
    )
    solve = problem.in_one_call if config.one_vs_rest == "one_stream" else problem.class_by_class
    cs_R = np.unique(np.asarray(grid, dtype=np.float64))
    coef_RJG = np.zeros((len(cs_R), len(problems_J), matrix_CG.shape[1] + 1))
    rounds_RJ = np.zeros(coef_RJG.shape[:2], dtype=np.int64)
    for r, value in enumerate(cs_R):
        coef_RJG[r], rounds_RJ[r] = solve(value, seed)
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
class LiblinearProblem:
    """What one fold asks: cells, targets of +1 and -1 for each class, weights of cells."""

    matrix_CG: sparse.csr_array
    target_CJ: NDArray[np.float64]
    weight_C: NDArray[np.float64] | None
    tolerance: float
    max_iterations: int

    def class_by_class(
        self, value: float, seed: int | np.random.RandomState
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Call liblinear for each class, with the same seed: as scikit-learn's wrapper does.

        Gives weights, and the rounds that each class took.
        """
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            l1_ratio=1.0,
            solver="liblinear",
            C=value,
            tol=self.tolerance,
            max_iter=self.max_iterations,
            random_state=seed,
        )
        coef, rounds = [], []
        for target_C in self.target_CJ.T:
            model.fit(self.matrix_CG, target_C, sample_weight=self.weight_C)
            coef.append(np.append(model.coef_.ravel(), model.intercept_))
            rounds.append(model.n_iter_[0])
        return np.array(coef), np.array(rounds)

    def in_one_call(
        self, value: float, seed: int | np.random.RandomState
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Call liblinear once: its random numbers run on from class to class.

        So did LogisticRegression until scikit-learn 1.8. LinearSVC still hands all classes over,
        and its loss as well, once nobody checks that the loss is one of its own: this is the same
        call. Only the most rounds that any class took are told; they stand with the first class.
        """
        import sklearn
        from sklearn.svm import LinearSVC

        # Two classes are one problem, whose target is +1 for the second.
        label_C = (
            self.target_CJ.argmax(axis=1) if self.target_CJ.shape[1] > 1 else self.target_CJ[:, 0]
        )
        model = LinearSVC(
            penalty="l1",
            loss="logistic_regression",
            dual=False,
            C=value,
            tol=self.tolerance,
            max_iter=self.max_iterations,
            random_state=seed,
        )
        try:
            with sklearn.config_context(skip_parameter_validation=True):
                model.fit(self.matrix_CG, label_C, sample_weight=self.weight_C)
        except (TypeError, ValueError) as error:
            raise UserError(
                "model.one_vs_rest=one_stream needs a scikit-learn whose LinearSVC hands liblinear "
                "all classes at once, as that of 1.9 does",
                got=f"scikit-learn {sklearn.__version__}: {error}",
                remedy="pip install 'scikit-learn<1.10', or use model.one_vs_rest=separate",
            ) from error
        rounds_J = np.zeros(len(model.coef_), dtype=np.int64)
        rounds_J[0] = model.n_iter_
        return np.column_stack([model.coef_, model.intercept_]), rounds_J

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
