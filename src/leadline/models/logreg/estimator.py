"""The exact L1 path as an estimator of scikit-learn.

Shapes: C cells, G features, K classes, J problems (one a class; one in all of two classes).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from leadline.models.logreg.l1.path import PathFit, decision, fit_path, predict_proba

Floats = NDArray[np.float64]
GRID = tuple(10.0**power for power in range(-3, 5))


class L1Path(ClassifierMixin, BaseEstimator):
    """L1 logistic regression, solved for a whole grid of C at once, with a certificate.

    Each class against the rest, the intercept penalised like any weight, as liblinear has it. C is
    chosen by cross-validation over `Cs`, the smallest of the best, unless it is given.

    Parameters
    ----------
    C
        The inverse strength of the penalty; None chooses it.
    Cs
        The grid to choose from.
    cv
        Folds of the choice, stratified and unshuffled.
    class_weight
        None, "balanced", or a weight for each class.
    l1_ratio
        1 for pure L1; below, the rest is L2.
    multinomial
        One softmax over the classes instead of each against the rest.
    tol
        The duality gap, as a part of the objective, below which a solution is good.
    max_iter
        Rounds of the solver at each C.
    n_jobs
        Threads.

    Attributes
    ----------
    classes_
        The labels, sorted.
    C_
        The C of the solution.
    coef_, intercept_
        Weights of each problem, J x G, and J numbers; of two classes one problem, the second's.
    scores_
        Mean accuracy at each of `Cs`; not there where C was given.
    gap_
        Duality gap of each problem: at most so far is its objective from the best one.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> fitted = L1Path(Cs=(0.1, 1.0, 10.0)).fit(X, y)
    >>> fitted.C_, fitted.coef_.shape, bool(fitted.score(X, y) > 0.9)
    (10.0, (3, 4), True)
    """

    def __init__(
        self,
        *,
        C: float | None = None,
        Cs: Sequence[float] = GRID,
        cv: int = 5,
        class_weight: str | Mapping[Any, float] | None = None,
        l1_ratio: float = 1.0,
        multinomial: bool = False,
        tol: float = 1e-4,
        max_iter: int = 200,
        n_jobs: int = 1,
    ) -> None:
        self.C = C
        self.Cs = Cs
        self.cv = cv
        self.class_weight = class_weight
        self.l1_ratio = l1_ratio
        self.multinomial = multinomial
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: ArrayLike) -> L1Path:
        """Choose C, if it is not given, and solve for all rows."""
        matrix, labels = validate_data(
            self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], ensure_min_samples=2
        )
        check_classification_targets(labels)
        self.classes_, codes_C = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"L1Path needs samples of at least two classes: got 1 class, {self.classes_[0]!r}; "
                "look at y"
            )
        codes_C = codes_C.astype(np.int64)
        self.C_ = float(self.C) if self.C is not None else self._choose(matrix, codes_C)
        smaller = [c for c in sorted(self.Cs) if c < self.C_]
        (solved,) = self._solve(matrix, codes_C, [*smaller, self.C_], None)
        self._path = solved
        weight_JG = solved.coef_R[-1].toarray()
        self.coef_, self.intercept_ = weight_JG[:, :-1], weight_JG[:, -1]
        self.gap_ = solved.gap_RJ[-1]
        self.n_iter_ = int(solved.iterations_RJ[-1].max())
        return self

    def _choose(self, matrix: Any, codes_C: NDArray[np.int64]) -> float:
        """Choose the C of the highest mean accuracy over folds, the smallest among equals."""
        grid = sorted(set(map(float, self.Cs)))
        most = int(np.bincount(codes_C).max())
        if most < 2:
            raise ValueError(
                "choosing C needs a class of at least 2 samples: got one sample of each class; "
                "give C, or more samples"
            )
        cut = StratifiedKFold(min(int(self.cv), most))
        # A class with fewer samples than folds is held out where it can be; that is no mistake.
        folds = [
            (fitted, held)
            for fitted, held in _quietly(cut, codes_C)
            if len(held) and len(np.unique(codes_C[fitted])) > 1
        ]
        if not folds:
            raise ValueError(
                "choosing C needs a fold that trains on two classes: got none; give C, or more "
                "samples of each class"
            )
        fits = self._solve(matrix, codes_C, grid, [fitted for fitted, _ in folds])
        right_RF = np.array(
            [
                [
                    (decision(matrix[held], fit, at).argmax(axis=1) == codes_C[held]).mean()
                    for fit, (_, held) in zip(fits, folds, strict=True)
                ]
                for at in range(len(grid))
            ]
        )
        self.scores_ = right_RF.mean(axis=1)
        return grid[int(self.scores_.argmax())]

    def _solve(
        self,
        matrix: Any,
        codes_C: NDArray[np.int64],
        grid: Sequence[float],
        rows: Sequence[NDArray[np.int64]] | None,
    ) -> list[PathFit]:
        return fit_path(
            matrix,
            codes_C,
            grid,
            rows=rows,
            weights=self._weights(codes_C),
            l1_ratio=self.l1_ratio,
            multinomial=self.multinomial,
            tol=self.tol,
            max_iter=self.max_iter,
            threads=self.n_jobs,
        )

    def _weights(self, codes_C: NDArray[np.int64]) -> Floats | None:
        if self.class_weight is None:
            return None
        labels = self.classes_[codes_C]
        weight_K = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
        return np.asarray(weight_K[codes_C], dtype=np.float64)

    def _checked(self, X: ArrayLike) -> Any:
        check_is_fitted(self)
        return validate_data(
            self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False
        )

    def decision_function(self, X: ArrayLike) -> Floats:
        """Give the score of each class, C x K; of two classes that of the second alone."""
        score_CK = decision(self._checked(X), self._path, -1)
        return score_CK if len(self.classes_) > 2 else score_CK[:, 1]

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Give each class's sigmoid divided by their sum, or the softmax; C x K."""
        return predict_proba(self._checked(X), self._path, -1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Give the class of the highest score."""
        called_C = decision(self._checked(X), self._path, -1).argmax(axis=1)
        return np.asarray(self.classes_[called_C])

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that sparse matrices are taken."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _quietly(
    cut: StratifiedKFold, codes_C: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(cut.split(np.zeros((len(codes_C), 1)), codes_C))
