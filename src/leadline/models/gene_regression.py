"""Predict the response to a knock-out from the vector of the gene, for genes never knocked out.

The head is simple and fixed, so that the vectors are what is compared: StandardScaler, then PCA,
then either the mean of the k nearest training genes or a Lasso per response gene. The k or α is
chosen by an inner cross-validation on the training perturbations alone.

P perturbations (N in training, T in the test set), G response genes, D components of the vectors,
K neighbours or values of k, A values of α, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from leadline.errors import UserError
from leadline.models.gene_regression_kernels import (
    coordinate_descent,
    neighbour_errors,
    neighbour_means,
    threads_for,
)

Array = NDArray[np.float64]
Head = Literal["knn", "lasso"]

KS = (20, 40, 60, 80, 100)
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)
COMPONENTS = 100
INNER_FOLDS = 5
INNER_SEED = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorFeatures:
    """Centre, scale and rotation of one training set; `transform` applies them to any vectors."""

    mean_D: Array
    scale_D: Array
    centre_D: Array
    rotation_DK: Array

    def transform(self, vectors_PD: Array) -> Array:
        """Return the principal components of the scaled vectors."""
        scaled_PD = (vectors_PD - self.mean_D) / self.scale_D - self.centre_D
        return np.asarray(scaled_PD @ self.rotation_DK)


def fit_features(vectors_ND: Array, components: int, *, scaled: bool = True) -> VectorFeatures:
    """Fit StandardScaler and an exact PCA with at most min(components, N − 1, D) components.

    A column without variance keeps its scale, as in scikit-learn. The largest entry of each
    direction is positive, so that the result does not depend on the LAPACK in use.
    """
    rows, width = vectors_ND.shape
    kept = min(components, rows - 1, width)
    mean_D, scale_D = np.zeros(width), np.ones(width)
    if scaled:
        mean_D = vectors_ND.mean(axis=0)
        spread_D = vectors_ND.std(axis=0)
        constant_D = spread_D <= 10 * np.finfo(float).eps * np.maximum(1e-300, np.abs(mean_D))
        scale_D = np.where(constant_D, 1.0, spread_D)
    scaled_ND = (vectors_ND - mean_D) / scale_D
    centre_D = scaled_ND.mean(axis=0)
    scaled_ND = scaled_ND - centre_D
    _, _, directions_KD = np.linalg.svd(scaled_ND, full_matrices=False)
    directions_KD = directions_KD[:kept]
    largest_K = np.abs(directions_KD).argmax(axis=1)
    sign_K = np.sign(directions_KD[np.arange(kept), largest_K])
    rotation_DK = np.ascontiguousarray((directions_KD * sign_K[:, None]).T)
    return VectorFeatures(
        mean_D=mean_D, scale_D=scale_D, centre_D=centre_D, rotation_DK=rotation_DK
    )


def nearest_rows(train_NK: Array, test_TK: Array, most: int) -> NDArray[np.int64]:
    """Return the `most` nearest training rows of each test row, nearest first, ties by index."""
    squared_TN = cdist(test_TK, train_NK, "sqeuclidean")
    return np.ascontiguousarray(np.argsort(squared_TN, axis=1, kind="stable")[:, :most])


def knn_all_k(train_NK: Array, y_NG: Array, test_TK: Array, ks: Sequence[int]) -> Array:
    """Predict by the uniform mean of the k nearest, for every k from one sorted distance matrix.

    Returns
    -------
    Array
        Predictions, (len(ks), T, G), in the order of `ks`.
    """
    order = np.argsort(ks, kind="stable")
    ascending = np.asarray(ks, dtype=np.int64)[order]
    if not len(ascending) or ascending[0] < 1 or ascending[-1] > len(train_NK):
        raise UserError(
            "k of a nearest-neighbour head lies between 1 and the number of training genes",
            got=f"k = {', '.join(map(str, ks))} with {len(train_NK)} training genes",
            remedy="use a smaller k or fewer folds",
        )
    neighbours_TK = nearest_rows(train_NK, test_TK, int(ascending[-1]))
    with threads_for(neighbours_TK.size * y_NG.shape[1]):
        means = neighbour_means(np.ascontiguousarray(y_NG), neighbours_TK, ascending)
    return np.asarray(means[np.argsort(order, kind="stable")])


@dataclass(frozen=True, slots=True, kw_only=True)
class LassoPath:
    """Lasso solutions of all genes at all α; prediction = (x − x_mean) coef + y_mean."""

    alphas_A: Array
    coef_ADG: Array
    x_mean_D: Array
    y_mean_G: Array
    sweeps_A: NDArray[np.int64]

    def predict(self, x_TD: Array, at: int) -> Array:
        """Predict at the α of that place; coefficients of zero give the training mean bitwise."""
        return np.asarray((x_TD - self.x_mean_D) @ self.coef_ADG[at] + self.y_mean_G)


def lasso_path(
    x_ND: Array, y_NG: Array, alphas: Sequence[float], *, tol: float = 1e-10, sweeps: int = 100_000
) -> LassoPath:
    """Minimise ‖y − Xw − b‖²/(2N) + α‖w‖₁ for every gene and α by coordinate descent.

    All genes share the Gram matrix of X, so each needs Xᵀy and nothing else of its responses.
    Larger α first, each solution starting from the last. Iterations end when no coefficient moves
    the prediction by more than `tol` of the spread of y. On the principal components of the
    training set itself the Gram matrix is diagonal and one sweep is exact.
    """
    rows = len(x_ND)
    x_mean_D, y_mean_G = x_ND.mean(axis=0), y_NG.mean(axis=0)
    centred_ND = x_ND - x_mean_D
    gram_DD = np.ascontiguousarray(centred_ND.T @ centred_ND / rows)
    centred_NG = y_NG - y_mean_G
    product_GD = np.ascontiguousarray(centred_NG.T @ centred_ND / rows)
    spread_G = np.sqrt(np.einsum("ng,ng->g", centred_NG, centred_NG) / rows)
    order = np.argsort(alphas)[::-1]
    descending = np.asarray(alphas, dtype=float)[order]
    with threads_for(product_GD.size * len(gram_DD) * len(descending)):
        coef_AGD, sweeps_AG = coordinate_descent(
            gram_DD, product_GD, spread_G, descending, tol, sweeps
        )
    if (sweeps_AG > sweeps).any():
        raise UserError(
            "The Lasso of every gene converges",
            got=f"{int((sweeps_AG > sweeps).any(axis=0).sum())} genes that did not in {sweeps} "
            "sweeps",
            remedy="use a larger α or drop vectors that are copies of one another",
        )
    back = np.argsort(order, kind="stable")
    return LassoPath(
        alphas_A=np.asarray(alphas, dtype=float),
        coef_ADG=np.ascontiguousarray(coef_AGD[back].transpose(0, 2, 1)),
        x_mean_D=x_mean_D,
        y_mean_G=y_mean_G,
        sweeps_A=sweeps_AG.max(axis=1)[back],
    )


def shuffled_folds(rows: int, folds: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the held-out rows of each fold, as scikit-learn's KFold(folds, shuffle, seed)."""
    index_P = np.arange(rows)
    np.random.RandomState(seed).shuffle(index_P)
    sizes_F = np.full(folds, rows // folds)
    sizes_F[: rows % folds] += 1
    return [np.sort(part) for part in np.split(index_P, np.cumsum(sizes_F)[:-1])]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFold:
    """Out-of-fold predictions of one set of vectors under one head, and what was chosen.

    `messages` says in words where the head had to give way: fewer components, a smaller k,
    perturbations without a vector.
    """

    predictions_PG: Array
    has_vector_P: NDArray[np.bool_]
    folds_F: NDArray[np.int64]
    chosen_F: Array
    components_F: NDArray[np.int64]
    inner_l2_FK: Array
    messages: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the perturbations that have a vector."""
        return float(self.has_vector_P.mean())


def cross_predict(
    vectors: ArrayLike,
    responses: ArrayLike,
    fold: ArrayLike,
    *,
    head: Head = "knn",
    grid: Sequence[float] | None = None,
    components: int = COMPONENTS,
    scaled: bool = True,
    rotated: bool = True,
    inner_folds: int = INNER_FOLDS,
    inner_seed: int = INNER_SEED,
) -> OutOfFold:
    """Predict each fold from the others.

    Parameters
    ----------
    vectors
        (P, D); a row with a nan has no vector: dropped in training, predicted by the mean of all
        training responses.
    responses
        (P, G), the mean expression change of each perturbation.
    fold
        (P,), the fold in which each perturbation is held out.
    head
        `knn` with a grid of k, or `lasso` with a grid of α.
    grid
        Values to choose from; those of the publication when not given.
    components
        Principal components, at most; never more than training genes less one or the width.
    scaled, rotated
        Whether the vectors pass StandardScaler, and PCA.
    inner_folds, inner_seed
        KFold, shuffled, on the training perturbations that have a vector.
    """
    vectors_PD, y_PG, fold_P = _checked(vectors, responses, fold)
    grid = grid if grid is not None else (KS if head == "knn" else ALPHAS)
    has_P = np.asarray(np.isfinite(vectors_PD).all(axis=1))
    fit = _Knn(y_PG, grid) if head == "knn" else _Lasso(y_PG, grid)
    folds_F = np.unique(fold_P)
    predictions_PG = np.empty_like(y_PG)
    chosen, widths, errors, messages = [], [], [], []
    for held in folds_F:
        training_P, test_P = fold_P != held, fold_P == held
        train, test = np.flatnonzero(training_P & has_P), np.flatnonzero(test_P & has_P)
        _require_training(len(train), int(held), inner_folds)
        predictions_PG[test_P & ~has_P] = y_PG[training_P].mean(axis=0)

        def prepare(rows: Any, others: Any) -> tuple[Array, Array]:
            if not rotated and not scaled:
                return vectors_PD[rows], vectors_PD[others]
            wanted = components if rotated else vectors_PD.shape[1]
            features = fit_features(vectors_PD[rows], wanted, scaled=scaled)
            return features.transform(vectors_PD[rows]), features.transform(vectors_PD[others])

        parts = shuffled_folds(len(train), inner_folds, inner_seed)
        usable = fit.usable(len(train) - max(map(len, parts)))
        if not usable:
            raise UserError(
                "Some k is at most the number of inner training genes",
                got=f"k = {', '.join(map(str, grid))} in fold {held} of {len(train)} genes",
                remedy="add a smaller k to the grid",
            )
        inner_l2_FK = np.empty((inner_folds, len(usable)))
        for at, part in enumerate(parts):
            rows, others = np.delete(train, part), train[part]
            x_NK, x_TK = prepare(rows, others)
            inner_l2_FK[at] = fit.errors(x_NK, rows, x_TK, others, usable).mean(axis=1)
        mean_K = inner_l2_FK.mean(axis=0)
        best = usable[int(mean_K.argmin())]
        x_NK, x_TK = prepare(train, test)
        predictions_PG[test] = fit.predict(x_NK, train, x_TK, best)
        chosen.append(float(best))
        widths.append(x_NK.shape[1])
        padded_K = np.full(len(grid), np.nan)
        padded_K[[value in usable for value in grid]] = mean_K
        errors.append(padded_K)
        if len(usable) < len(grid):
            messages.append(f"fold {held}: k above the {len(train)} training genes left out")
    if rotated and min(widths) < components:
        messages.append(f"PCA has {min(widths)} components instead of {components}")
    if not has_P.all():
        messages.append(
            f"{int((~has_P).sum())} of {len(has_P)} perturbations have no vector and are predicted "
            "by the mean of the training responses"
        )
    return OutOfFold(
        predictions_PG=predictions_PG,
        has_vector_P=has_P,
        folds_F=folds_F.astype(np.int64),
        chosen_F=np.array(chosen),
        components_F=np.array(widths),
        inner_l2_FK=np.array(errors),
        messages=tuple(messages),
    )


class _Knn:
    """The nearest-neighbour head; errors of the inner folds come from the Gram matrix of Y.

    ‖y − mean of neighbours‖² needs inner products of responses only, so choosing k costs no pass
    over the genes.
    """

    def __init__(self, y_PG: Array, grid: Sequence[float]) -> None:
        self.y_PG, self.grid = y_PG, [float(k) for k in grid]
        centred_PG = y_PG - y_PG.mean(axis=0)
        self.gram_PP = centred_PG @ centred_PG.T

    def usable(self, rows: int) -> list[float]:
        return [k for k in self.grid if k <= rows]

    def errors(self, x_NK: Array, rows: Any, x_TK: Array, others: Any, grid: list[float]) -> Array:
        ks = np.array(grid, dtype=np.int64)
        neighbours_TK = rows[nearest_rows(x_NK, x_TK, int(ks.max()))]
        with threads_for(neighbours_TK.size * int(ks.max())):
            return np.asarray(neighbour_errors(self.gram_PP, neighbours_TK, others, ks))

    def predict(self, x_NK: Array, rows: Any, x_TK: Array, best: float) -> Array:
        return np.asarray(knn_all_k(x_NK, self.y_PG[rows], x_TK, [int(best)])[0])


class _Lasso:
    """The Lasso head; every α of one training set comes from one path."""

    def __init__(self, y_PG: Array, grid: Sequence[float]) -> None:
        self.y_PG, self.grid = y_PG, [float(alpha) for alpha in grid]

    def usable(self, rows: int) -> list[float]:
        return self.grid

    def errors(self, x_NK: Array, rows: Any, x_TK: Array, others: Any, grid: list[float]) -> Array:
        path = lasso_path(x_NK, self.y_PG[rows], grid)
        residuals = (self.y_PG[others] - path.predict(x_TK, at) for at in range(len(grid)))
        return np.array([np.sqrt(np.einsum("tg,tg->t", each, each)) for each in residuals])

    def predict(self, x_NK: Array, rows: Any, x_TK: Array, best: float) -> Array:
        return lasso_path(x_NK, self.y_PG[rows], [best]).predict(x_TK, 0)


def _checked(vectors: ArrayLike, responses: ArrayLike, fold: ArrayLike) -> tuple[Array, Array, Any]:
    vectors_PD, y_PG = np.asarray(vectors, dtype=float), np.asarray(responses, dtype=float)
    fold_P = np.asarray(fold)
    if vectors_PD.ndim != 2 or y_PG.ndim != 2 or not len(vectors_PD) == len(y_PG) == len(fold_P):
        raise UserError(
            "Vectors, responses and folds have one row for each perturbation",
            got=f"shapes {vectors_PD.shape}, {y_PG.shape}, {fold_P.shape}",
            remedy="align them by perturbation, with rows of nan where a vector is missing",
        )
    if not np.isfinite(y_PG).all():
        raise UserError(
            "Every response is a finite number",
            got=f"{int((~np.isfinite(y_PG)).any(axis=1).sum())} perturbations with nan or inf",
            remedy="leave out perturbations that have no response",
        )
    if len(np.unique(fold_P)) < 2:
        raise UserError("There are at least two folds", got="one", remedy="split by gene")
    return vectors_PD, y_PG, fold_P


def _require_training(rows: int, held: int, inner_folds: int) -> None:
    if rows < 2 * inner_folds:
        raise UserError(
            f"A fold has at least {2 * inner_folds} training perturbations with a vector",
            got=f"{rows} outside fold {held}",
            remedy="check that the names of the vectors are those of the perturbed genes",
        )
