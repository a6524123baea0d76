"""L1 logistic regression along a whole grid of C: all classes, all folds, one column layout.

For each class against the rest, with the intercept b penalised like any weight:
minimise  |w|_1 + |b| + C * sum_i s_i log(1 + exp(-y_i (x_i w + b))).

The path goes from small to large C. At each C all classes advance in rounds: one read of the
columns gives every class its full gradient, hence its duality gap; a class whose gap is too wide
takes Newton steps on its working set (`l1kernels.refine`) and meets the others in the next round.

Shapes: C cells, G columns (genes, then the constant 1), K classes, J problems (one per class; one
in all if there are two classes), R values of the regularisation C, W columns of a working set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import expit, softmax

from leadline.errors import UserError
from leadline.models.logreg.l1.columns import columns_of, compressed
from leadline.models.logreg.l1.newton import Each, Path
from leadline.models.logreg.l1.objective import Certificate, Floats, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFit:
    """The solutions of one fold along the grid, with the certificate of each.

    Attributes
    ----------
    cs_R
        The grid, ascending.
    coef_R
        Weights for each C: CSR of J x (genes + 1), the intercept last.
    present
        The class codes that the fold has training cells of.
    problems_J
        The class code that each row of weights tells from the rest. Two classes make one problem,
        that of the second, as in scikit-learn; a multinomial fit has a row for each.
    classes
        K, including classes that the fold lacks.
    objective_RJ, gap_RJ
        Objective, and duality gap: an upper bound of its distance from the optimum.
    kkt_RJ
        Largest violation of the optimality conditions over all columns, in units of the penalty.
    nnz_RJ, iterations_RJ
        Weights that are not zero, the intercept included; Newton steps taken.
    converged_RJ
        Whether gap <= tol * objective and kkt <= sqrt(tol). A multinomial fit is one problem:
        its objective, gap and verdict stand in every column.
    """

    cs_R: Floats
    coef_R: list[sparse.csr_array]
    present: NDArray[np.int64]
    problems_J: NDArray[np.int64]
    classes: int
    multinomial: bool
    objective_RJ: Floats
    gap_RJ: Floats
    kkt_RJ: Floats
    nnz_RJ: NDArray[np.int64]
    iterations_RJ: NDArray[np.int64]
    converged_RJ: NDArray[np.bool_]


def fit_path(
    X: Any,
    y: ArrayLike,
    cs: ArrayLike,
    *,
    rows: Sequence[ArrayLike] | None = None,
    weights: ArrayLike | None = None,
    l1_ratio: float = 1.0,
    multinomial: bool = False,
    tol: float = 1e-4,
    max_iter: int = 200,
    threads: int = 1,
) -> list[PathFit]:
    """Solve every class at every C, for each set of training rows; never densify, never mutate.

    Parameters
    ----------
    X
        Cells x genes: dense, CSR or CSC. One fold's rows are held once more, as columns.
    y
        Class codes 0..K-1.
    cs
        The grid; it is solved and returned in ascending order.
    rows
        Training indices of each fold; all cells if None.
    weights
        Sample weights, one per cell of `X`.
    l1_ratio
        The penalty is l1_ratio |w|_1 + (1 - l1_ratio)/2 |w|^2, as in scikit-learn.
    tol
        A solution has converged when its duality gap is at most `tol` times its objective, so
        that no other is better by more than that share, and no optimality condition is off by
        more than sqrt(tol).
    max_iter
        Rounds per C; what has not converged by then says so in `converged_RJ`.
    threads
        Worker threads; the result has the same bits for any number.
    """
    matrix_CG = compressed(X)
    codes_C, cs_R = np.asarray(y), np.unique(np.asarray(cs, dtype=np.float64))
    share_C = np.ones(codes_C.size) if weights is None else np.asarray(weights, dtype=np.float64)
    folds = [np.arange(codes_C.size)] if rows is None else [np.asarray(fold) for fold in rows]
    _check_data(matrix_CG.shape[0], codes_C, share_C, folds)
    _check_numbers(cs_R, l1_ratio, tol, threads)
    settings = Settings(
        l1=l1_ratio, l2=1.0 - l1_ratio, tol=tol, max_iter=max_iter, multinomial=multinomial
    )
    classes = int(codes_C.max()) + 1

    def solve(fold_C: NDArray[np.int64], each: Each) -> PathFit:
        present = np.unique(codes_C[fold_C])
        problems_J = present if multinomial or present.size > 2 else present[1:]
        sign_JC = np.where(codes_C[fold_C] == problems_J[:, None], 1.0, -1.0)
        columns = columns_of(matrix_CG, fold_C)
        path = Path(columns, sign_JC, share_C[fold_C], settings, each)
        path.approach(cs_R[0])
        return _gather(cs_R, [path.solve(c) for c in cs_R], present, problems_J, classes, settings)

    if threads == 1:
        return [solve(fold_C, _one_by_one) for fold_C in folds]
    with ThreadPoolExecutor(threads) as pool:
        # Threads share the classes of one fold, so that one fold at a time is held as columns;
        # where a fold is a single chain of problems, they share the folds.
        if multinomial or classes == 2:
            return list(pool.map(lambda fold_C: solve(fold_C, _one_by_one), folds))
        return [solve(fold_C, lambda do, items: _all(pool.map(do, items))) for fold_C in folds]


def _one_by_one(do: Callable[[Any], None], items: Iterable[Any]) -> None:
    for item in items:
        do(item)


def _all(done: Iterable[None]) -> None:
    """Wait for each, and raise what it raised."""
    for _ in done:
        pass


def _gather(
    cs_R: Floats,
    solved_R: list[tuple[sparse.csr_array, Certificate]],
    present: NDArray[np.int64],
    problems_J: NDArray[np.int64],
    classes: int,
    settings: Settings,
) -> PathFit:
    found_R = [found for _, found in solved_R]
    return PathFit(
        cs_R=cs_R,
        coef_R=[coef_JG for coef_JG, _ in solved_R],
        present=present,
        problems_J=problems_J,
        classes=classes,
        multinomial=settings.multinomial,
        objective_RJ=np.array([found.objective_J for found in found_R]),
        gap_RJ=np.array([found.gap_J for found in found_R]),
        kkt_RJ=np.array([found.kkt_J for found in found_R]),
        nnz_RJ=np.array([np.diff(coef_JG.indptr) for coef_JG, _ in solved_R]),
        iterations_RJ=np.array([found.iterations_J for found in found_R]),
        converged_RJ=np.array([found.converged_J for found in found_R]),
    )


def _check_numbers(cs_R: Floats, l1_ratio: float, tol: float, threads: int) -> None:
    if cs_R.size == 0 or not (np.isfinite(cs_R) & (cs_R > 0.0)).all():
        raise UserError(
            "every C must be finite and above 0", got=str(cs_R), remedy="mend the grid of C"
        )
    if not 0.0 < l1_ratio <= 1.0:
        raise UserError(
            "l1_ratio must be above 0 and at most 1", got=str(l1_ratio), remedy="use 1 for pure L1"
        )
    if not tol > 0.0:
        raise UserError("tol must be above 0", got=str(tol), remedy="use 1e-4")
    if threads < 1:
        raise UserError("threads must be at least 1", got=str(threads), remedy="use 1")


def _check_data(
    cells: int, codes_C: NDArray[Any], share_C: Floats, folds: list[NDArray[Any]]
) -> None:
    if codes_C.shape != (cells,) or share_C.shape != (cells,):
        raise UserError(
            "labels and weights must match cells",
            got=f"{codes_C.size} labels and {share_C.size} weights for {cells} cells",
            remedy="rerun the split",
        )
    if codes_C.dtype.kind not in "iu" or codes_C.size == 0 or codes_C.min() < 0:
        raise UserError(
            "labels must be class codes 0..K-1",
            got=f"{codes_C.size} labels of {codes_C.dtype}",
            remedy="encode them with numpy.unique(labels, return_inverse=True)",
        )
    if not (np.isfinite(share_C) & (share_C >= 0.0)).all():
        raise UserError(
            "sample weights must be finite and at least 0",
            got=f"values from {share_C.min()} to {share_C.max()}",
            remedy="mend the weights",
        )
    for fold_C in folds:
        _check_fold(cells, codes_C, fold_C)


def _check_fold(cells: int, codes_C: NDArray[Any], fold_C: NDArray[Any]) -> None:
    if fold_C.dtype.kind not in "iu" or fold_C.min(initial=0) < 0 or fold_C.max(initial=0) >= cells:
        raise UserError(
            "training rows must be numbers of cells",
            got=f"{fold_C.dtype} from {fold_C.min()} to {fold_C.max()} for {cells} cells",
            remedy="pass indices, not a mask",
        )
    if np.unique(fold_C).size != fold_C.size:
        raise UserError(
            "the training rows of a fold must differ",
            got=f"{fold_C.size - np.unique(fold_C).size} repeats",
            remedy="pass repeats as weights",
        )
    if np.unique(codes_C[fold_C]).size < 2:
        raise UserError(
            "a classifier needs cells of at least two classes",
            got=f"{np.unique(codes_C[fold_C]).size} among {fold_C.size} training cells",
            remedy="add cells of another class or raise data.fraction",
        )


def decision(X: Any, fit: PathFit, c_index: int) -> Floats:
    """Return cells x K scores; -inf for classes that had no training cell."""
    coef_JG = fit.coef_R[c_index]
    score_CJ = np.asarray(X @ coef_JG[:, :-1].T.toarray()) + coef_JG[:, [-1]].toarray().ravel()
    score_CK = np.full((score_CJ.shape[0], fit.classes), -np.inf)
    score_CK[:, fit.problems_J] = score_CJ
    if fit.problems_J.size < fit.present.size:  # two classes, one problem
        score_CK[:, fit.present[0]] = -score_CJ[:, 0]
    return score_CK


def predict_proba(X: Any, fit: PathFit, c_index: int) -> Floats:
    """Return each class's sigmoid divided by their sum (softmax if multinomial); 0 if absent."""
    score_CK = decision(X, fit, c_index)
    if fit.multinomial:
        return np.asarray(softmax(score_CK, axis=1))
    chance_CK = expit(score_CK)
    # A cell that every class refuses at the limit of float64 goes to the least unlikely.
    lost = np.flatnonzero(chance_CK.sum(axis=1) == 0.0)
    chance_CK[lost, score_CK[lost].argmax(axis=1)] = 1.0
    return np.asarray(chance_CK / chance_CK.sum(axis=1, keepdims=True))
