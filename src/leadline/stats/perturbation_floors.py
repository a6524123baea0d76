"""Floors that any predictor of knock-outs should beat, ceilings that none can, skill in between.

P perturbations, G genes, D components of vectors, C cells, B batches, S splits or draws, F folds.
Expression is log-normalised, dense or scipy sparse; randomness is a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse, special

from leadline.errors import UserError

Array = NDArray[np.float64]

# Floors by name, and what a page calls them.
NO_CHANGE, TRAIN_MEAN, OWN_GENE, LINEAR = "no_change", "train_mean", "own_gene", "linear_model"
ADDITIVE, PCA_CONTROL, RANDOM, SHUFFLED = "additive", "pca_control", "random", "shuffled"
IDEALISED = "idealised"
FLOOR_TITLES = {
    NO_CHANGE: "no change",
    TRAIN_MEAN: "train mean",
    OWN_GENE: "train mean and own gene",
    LINEAR: "linear model of the responses",
    ADDITIVE: "sum of the singles",
    PCA_CONTROL: "PCA of control cells",
    RANDOM: "random vectors",
    SHUFFLED: "shuffled vectors",
    IDEALISED: "PCA of all responses (has seen the answer)",
}

DRAWS = 10
PCA_WIDTH = 128
CELLS_AT_A_TIME = 2048
SPLITS = 20
QUANTILES = (0.5, 0.9)  # the median is the noise of a point estimate; .9 is the published "limit"


def training_means(y_PG: Array, fold_P: ArrayLike) -> Array:
    """Return, for each perturbation, the mean response of the folds it is not in."""
    fold = np.asarray(fold_P)
    means_PG = np.empty_like(y_PG, dtype=float)
    for held in np.unique(fold):
        means_PG[fold == held] = y_PG[fold != held].mean(axis=0)
    return means_PG


def own_gene_effect(y_PG: Array, fold_P: ArrayLike, target_P: ArrayLike) -> Array:
    """Predict the training mean, and at the perturbed gene the mean training drop of own genes.

    `target_P` is the column of the perturbed gene, or −1 where it is not among the genes.
    """
    fold, target = np.asarray(fold_P), np.asarray(target_P, dtype=int)
    predicted_PG = training_means(y_PG, fold)
    known = target >= 0
    own_P = np.where(known, y_PG[np.arange(len(y_PG)), np.maximum(target, 0)], np.nan)
    for held in np.unique(fold):
        drop = own_P[(fold != held) & known]
        rows = np.flatnonzero((fold == held) & known)
        if len(drop):
            predicted_PG[rows, target[rows]] = drop.mean()
    return predicted_PG


def additive(y_PG: Array, pairs_Q2: ArrayLike) -> Array:
    """Predict each double as the sum of the responses to its singles, rows of `y_PG`."""
    pairs = np.asarray(pairs_Q2, dtype=int)
    return np.asarray(y_PG[pairs[:, 0]] + y_PG[pairs[:, 1]])


def random_vectors(rows: int, width: int, *, seed: int) -> Array:
    """Draw vectors that know nothing, one draw for training and test genes alike."""
    return np.random.default_rng(seed).random((rows, width))


def shuffled_vectors(vectors_PD: Array, *, seed: int) -> Array:
    """Permute the vectors among the genes that have one: right marginals, no knowledge."""
    shuffled_PD = np.array(vectors_PD, dtype=float)
    rows = np.flatnonzero(np.isfinite(shuffled_PD).all(axis=1))
    shuffled_PD[rows] = shuffled_PD[np.random.default_rng(seed).permutation(rows)]
    return shuffled_PD


def pca_of_control(control_CG: Any, width: int = PCA_WIDTH) -> Array:
    """Return a vector for each gene from control cells alone: scaled loadings of their PCA.

    At most `width`, cells less one or genes; the largest entry of each direction is positive.
    """
    cells, genes = control_CG.shape
    kept = min(width, cells - 1, genes)
    if kept < 1:
        raise UserError(
            "The PCA of control cells takes at least two",
            got=f"{cells} cells × {genes} genes",
            remedy="check the name of the control",
        )
    mean_G = np.asarray(control_CG.mean(axis=0), dtype=float).ravel()
    if genes <= cells:
        # Dense blocks: expression of control cells is not sparse enough for sparse products.
        gram_GG = -cells * np.outer(mean_G, mean_G)
        for start in range(0, cells, CELLS_AT_A_TIME):
            some = control_CG[start : start + CELLS_AT_A_TIME]
            block = np.asarray(some.toarray() if sparse.issparse(some) else some, dtype=float)
            gram_GG += block.T @ block
        value_K, loading_GK = linalg.eigh(gram_GG, subset_by_index=(genes - kept, genes - 1))
    else:
        dense = control_CG.toarray() if sparse.issparse(control_CG) else np.asarray(control_CG)
        centred_CG = dense - mean_G
        gram_CC = centred_CG @ centred_CG.T
        value_K, score_CK = linalg.eigh(gram_CC, subset_by_index=(cells - kept, cells - 1))
        root_K = np.sqrt(np.maximum(value_K, np.finfo(float).tiny))
        loading_GK = centred_CG.T @ score_CK / root_K
    value_K, loading_GK = value_K[::-1], loading_GK[:, ::-1]
    sign_K = np.sign(loading_GK[np.abs(loading_GK).argmax(axis=0), np.arange(kept)])
    return np.asarray(loading_GK * sign_K * np.sqrt(np.maximum(value_K, 0.0) / (cells - 1)))


def linear_model(
    y_PG: Array,
    fold_P: ArrayLike,
    target_P: ArrayLike,
    *,
    components: int = 10,
    ridge: float = 0.1,
) -> Array:
    """Predict δ ≈ G K Pᵀ + mean, G and P from the PCA of the training responses.

    G (genes × components) are the scores of the genes, P the rows of G of the perturbed genes; K
    solves ridge regressions on both sides. A perturbed gene that is not measured (−1) gets the
    training mean.
    """
    fold, target = np.asarray(fold_P), np.asarray(target_P, dtype=int)
    predicted_PG = training_means(y_PG, fold)
    known = target >= 0
    for held in np.unique(fold):
        training = fold != held
        mean_G = y_PG[training].mean(axis=0)
        centred_GN = (y_PG[training] - mean_G).T
        kept = min(components, *centred_GN.shape)
        # The PCA of the genes over the training perturbations, centred over the genes.
        left_GK, size_K, _ = linalg.svd(
            centred_GN - centred_GN.mean(axis=0), full_matrices=False, lapack_driver="gesdd"
        )
        gene_GK = left_GK[:, :kept] * size_K[:kept]
        train, test = np.flatnonzero(training & known), np.flatnonzero(~training & known)
        if not len(train):
            continue
        p_NK = gene_GK[target[train]]
        penalty_KK = ridge * np.eye(kept)
        left_KN = linalg.solve(
            gene_GK.T @ gene_GK + penalty_KK, gene_GK.T @ (y_PG[train] - mean_G).T, assume_a="pos"
        )
        core_KK = linalg.solve(p_NK.T @ p_NK + penalty_KK, (left_KN @ p_NK).T, assume_a="pos").T
        predicted_PG[test] = (gene_GK @ core_KK @ gene_GK[target[test]].T).T + mean_G
    return predicted_PG


# Ceilings


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfNoise:
    """Noise of the full mean of each perturbation, from halves of its cells.

    `l2_SP` is ‖h₁ − h₂‖/2 for every split; nan where a perturbation cannot be halved.
    """

    l2_SP: Array
    perturbations_P: NDArray[Any]

    @property
    def l2(self) -> float:
        """L2 that a perfect model would reach, mean over splits and perturbations."""
        return float(np.nanmean(self.l2_SP))

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the splits."""
        of_splits = np.nanmean(self.l2_SP, axis=1)
        low, high = np.quantile(of_splits, [0.025, 0.975])
        return float(low), float(high)


def split_halves(
    expression: Any,
    perturbation_C: ArrayLike,
    batch_C: ArrayLike | None = None,
    *,
    perturbations: Sequence[str],
    seed: int,
    splits: int = SPLITS,
) -> HalfNoise:
    """Halve the cells of each perturbation within batches, `splits` times.

    Batches weigh equally, as in the response, among those with two cells or more of the
    perturbation; a cell left over in an odd batch sits out that split. The control is the same in
    both halves and cancels. Half the difference of two halves is as noisy as the full mean.
    """
    groups = _cells_by_group(perturbation_C, batch_C, perturbations)
    generator = np.random.default_rng(seed)
    rows = expression.tocsr() if sparse.issparse(expression) else expression
    l2_SP = np.full((splits, len(groups)), np.nan)
    for p, batches in enumerate(groups):
        usable = [cells for cells in batches if len(cells) >= 2]
        if not usable:
            continue
        own = np.concatenate(usable)
        weight_SC = np.zeros((splits, len(own)))
        for s in range(splits):
            weight_SC[s] = np.concatenate([_halves(len(each), generator) for each in usable])
        difference_SG = np.asarray(weight_SC @ rows[own].astype(float)) / len(usable)
        l2_SP[:, p] = np.linalg.norm(difference_SG, axis=1) / 2
    return HalfNoise(l2_SP=l2_SP, perturbations_P=np.array(perturbations, dtype=str))


def _halves(cells: int, generator: np.random.Generator) -> Array:
    """Return +1/half for one half of the cells, −1/half for the other, 0 for a cell left over."""
    half = cells // 2
    weight_C = np.zeros(cells)
    order = generator.permutation(cells)
    weight_C[order[:half]], weight_C[order[half : 2 * half]] = 1.0 / half, -1.0 / half
    return weight_C


def bootstrap_distances(
    expression: Any,
    perturbation_C: ArrayLike,
    batch_C: ArrayLike | None = None,
    *,
    perturbations: Sequence[str],
    seed: int,
    draws: int = 100,
    batches_too: bool = False,
    control: str | None = None,
) -> Array:
    """Return ‖bootstrap mean − mean‖ of each perturbation and draw, (S, P).

    The control is **fixed**: a model trained on the same controls shares their noise. Its cells
    are drawn again only if `control` is named, and whole batches only with `batches_too`: the two
    ways of the published limit, which is the .9 quantile of this. The median is a ceiling.
    """
    names = [*perturbations] + ([control] if control is not None else [])
    groups = _cells_by_group(perturbation_C, batch_C, names)
    generator = np.random.default_rng(seed)
    rows = expression.tocsr() if sparse.issparse(expression) else expression

    def deviations(batches: list[NDArray[np.int64]]) -> Array:
        own = np.concatenate(batches)
        weight_SC = np.array([_redrawn(batches, generator, batches_too) for _ in range(draws)])
        return np.asarray((weight_SC - _redrawn(batches, None, False)) @ rows[own].astype(float))

    shift_SG: Array | float = deviations(groups.pop()) if control is not None else 0.0
    distance_SP = np.full((draws, len(groups)), np.nan)
    for p, batches in enumerate(groups):
        if batches:
            distance_SP[:, p] = np.linalg.norm(deviations(batches) - shift_SG, axis=1)
    return distance_SP


def _redrawn(
    batches: list[NDArray[np.int64]], generator: np.random.Generator | None, batches_too: bool
) -> Array:
    """Return the weight of each cell in a mean of batch means, drawn again or (None) as it is."""
    number = len(batches)
    times_B: Array = np.ones(number)
    if generator is not None and batches_too:
        times_B = np.bincount(generator.integers(number, size=number), minlength=number).astype(
            np.float64
        )
    parts = []
    for times, cells in zip(times_B, batches, strict=True):
        count_C: Array = np.ones(len(cells))
        if generator is not None:
            drawn = generator.integers(len(cells), size=len(cells))
            count_C = np.bincount(drawn, minlength=len(cells)).astype(np.float64)
        parts.append(count_C * times / (len(cells) * number))
    return np.concatenate(parts)


def _cells_by_group(
    perturbation_C: ArrayLike, batch_C: ArrayLike | None, names: Sequence[str]
) -> list[list[NDArray[np.int64]]]:
    """List the cells of each perturbation, batch by batch."""
    word_C = np.asarray(perturbation_C).astype(str)
    batch = np.zeros(len(word_C), dtype=int) if batch_C is None else np.asarray(batch_C)
    order = np.argsort(word_C, kind="stable")
    first, last = (np.searchsorted(word_C[order], names, side=side) for side in ("left", "right"))
    groups = []
    for low, high in zip(first, last, strict=True):
        own = order[low:high]
        groups.append([own[batch[own] == each] for each in np.unique(batch[own])])
    return groups


# Skill and tests


def skill(floor: float, model: float, ceiling: float, standard_error: float = 0.0) -> float:
    """Return (floor − model)/(floor − ceiling) of an error, nan where the scale is empty.

    The scale is empty where floor and ceiling are less than two standard errors apart.
    """
    scale = floor - ceiling
    if not scale > 0 or scale < 2 * standard_error:
        return math.nan
    return (floor - model) / scale


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanDifference:
    """A mean difference with its 95 % interval and two-sided p."""

    estimate: float
    low: float
    high: float
    p: float
    standard_error: float


def nadeau_bengio(
    difference_F: ArrayLike, *, test_to_training: float | None = None
) -> MeanDifference:
    """Test a difference over folds whose training sets overlap.

    The variance of the folds is multiplied by 1/F + test/training (1/(F − 1) in a
    cross-validation); F − 1 degrees of freedom. Per data set: lines that share genes are no
    further folds.
    """
    values = np.asarray(difference_F, dtype=float)
    folds = len(values)
    if folds < 2:
        raise UserError("A test over folds takes two", got=str(folds), remedy="use more folds")
    ratio = 1.0 / (folds - 1) if test_to_training is None else test_to_training
    mean = float(values.mean())
    error = math.sqrt(float(values.var(ddof=1)) * (1.0 / folds + ratio))
    reach = float(special.stdtrit(folds - 1, 0.975)) * error
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * special.stdtr(folds - 1, -abs(mean) / error))
    return MeanDifference(
        estimate=mean, low=mean - reach, high=mean + reach, p=p, standard_error=error
    )


def paired_bootstrap(difference_P: ArrayLike, *, seed: int, draws: int = 10_000) -> MeanDifference:
    """Bootstrap the mean of paired differences over test perturbations.

    Percentile interval; p is twice the smaller share of draws on the other side of zero, ties
    half, never below 2/(draws + 1): two models with the same predictions get p = 1.
    """
    values = np.asarray(difference_P, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        raise UserError(
            "A bootstrap over perturbations takes finite differences",
            got=f"{int((~np.isfinite(values)).sum())} undefined of {len(values)}",
            remedy="count undefined scores as no skill",
        )
    generator = np.random.default_rng(seed)
    means = np.empty(draws)
    step = max(1, 4_000_000 // len(values))
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        drawn = generator.integers(len(values), size=(stop - start, len(values)), dtype=np.int32)
        means[start:stop] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    below, equal = int((means < 0).sum()), int((means == 0).sum())
    share = (min(below, draws - below - equal) + 0.5 * equal + 1) / (draws + 1)
    return MeanDifference(
        estimate=float(values.mean()),
        low=float(low),
        high=float(high),
        p=min(1.0, 2 * share),
        standard_error=float(means.std(ddof=1)),
    )
