"""Reconstruction of binned expression: floors that need no model, and the score against them.

Bins of scGPT: 0 = not expressed, 1 … 50 = quantile within the cell. Only non-zero bins are
scored. The published floor, one mean for all, holds no information: quantile bins are uniform by
construction (`uniform_floor`). The right one is the mean bin of each gene, out of fold. Ranks of
Geneformer are scored by correlation.

Shapes: C cells, G genes, T tokens of a cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.embedding_inputs import Codes, Floats, checked_codes, principal_components
from leadline.stats.neighbours import nearest_in_other_groups

Mask = npt.NDArray[np.bool_]

MASKED_SHARE = 0.15
MASKED_DRAWS = 5
FLOOR_NEIGHBOURS = 15
FLOOR_COMPONENTS = 20
REFERENCE_FLOOR = "gene_mean_out_of_fold"


def floor_predictions(
    bins_CG: npt.ArrayLike, fold_C: npt.ArrayLike | None = None, masked_CG: Mask | None = None
) -> dict[str, Floats]:
    """Predict every bin from averages: global, cell, gene, gene + cell, and neighbours.

    Masked positions inform no prediction of their own cell; floors out of fold take genes from
    the full bins of other folds. A gene without a bin to average gets the global mean. Without
    folds only the floors in sample are given.
    """
    bins = _checked_bins(bins_CG)
    visible_CG = bins > 0 if masked_CG is None else (bins > 0) & ~masked_CG
    if not visible_CG.any():
        raise UserError(
            "reconstruction needs a visible bin above 0", got="none", remedy="mask fewer positions"
        )
    overall = float(bins[visible_CG].mean())
    cell_C = _means(bins, visible_CG, 1, np.full(len(bins), overall))
    gene_G = _means(bins, visible_CG, 0, np.full(bins.shape[1], overall))
    shape = bins.shape
    floors = {
        "global_mean": np.full(shape, overall),
        "cell_mean": np.broadcast_to(cell_C[:, None], shape),
        "gene_mean_in_sample": np.broadcast_to(gene_G, shape),
    }
    if fold_C is None:
        return floors
    fold = checked_codes(fold_C, len(bins), "fold")
    gene_CG = _gene_means_out_of_fold(bins, fold)
    floors[REFERENCE_FLOOR] = gene_CG
    # How far the cell's visible bins lie above what its genes have elsewhere.
    offset_C = _means(bins - gene_CG, visible_CG, 1, np.zeros(len(bins)))
    floors["gene_and_cell"] = gene_CG + offset_C[:, None]
    floors["neighbour_mean"] = _neighbour_means(bins, visible_CG, fold, gene_CG)
    return floors


def floor_errors(
    bins_CG: npt.ArrayLike, fold_C: npt.ArrayLike | None = None, masked_CG: Mask | None = None
) -> dict[str, float]:
    """Mean squared error (`mse_*`) and mean absolute error (`mae_*`) of each floor.

    Over non-zero bins; with a mask over those of them that are masked.
    """
    bins = _checked_bins(bins_CG)
    errors = {}
    for name, predicted_CG in floor_predictions(bins, fold_C, masked_CG).items():
        errors[f"mse_{name}"] = mean_squared_error(bins, predicted_CG, masked_CG)
        errors[f"mae_{name}"] = mean_absolute_error(bins, predicted_CG, masked_CG)
    return errors


def mean_squared_error(
    bins_CG: npt.ArrayLike, predicted_CG: npt.ArrayLike, masked_CG: Mask | None = None
) -> float:
    """Mean squared error over non-zero bins, or over the masked ones of them."""
    return float((_differences(bins_CG, predicted_CG, masked_CG) ** 2).mean())


def mean_absolute_error(
    bins_CG: npt.ArrayLike, predicted_CG: npt.ArrayLike, masked_CG: Mask | None = None
) -> float:
    """Mean absolute error over non-zero bins, or over the masked ones of them."""
    return float(np.abs(_differences(bins_CG, predicted_CG, masked_CG)).mean())


def reconstruction_score(mse: float, gene_floor_mse: float) -> float:
    """Share of the out-of-fold gene floor's error that a model removes; below 0 it adds some."""
    if not gene_floor_mse > 0:
        raise UserError(
            "a reconstruction score needs a floor with an error",
            got=str(gene_floor_mse),
            remedy="each gene has one bin in all cells; there is nothing to predict",
        )
    return 1 - mse / gene_floor_mse


def reconstruction_errors(
    bins_CG: npt.ArrayLike, predicted_CG: npt.ArrayLike, fold_C: npt.ArrayLike, asked_CG: Mask
) -> dict[str, float]:
    """Give a model's squared error, that of each floor, and its score against the gene floor.

    Where every bin above 0 was asked, nothing was hidden, and floors may see all of a cell.
    """
    bins = _checked_bins(bins_CG)
    masked = None if bool(asked_CG[bins > 0].all()) else asked_CG
    mse = mean_squared_error(bins, predicted_CG, masked)
    floors = floor_errors(bins, fold_C, masked)
    errors = {"mse": mse} | {
        f"floor_{name.removeprefix('mse_')}": value
        for name, value in floors.items()
        if name.startswith("mse_")
    }
    errors["score"] = reconstruction_score(mse, floors[f"mse_{REFERENCE_FLOOR}"])
    return errors


def uniform_floor(n_bins: int = 51) -> float:
    """Mean squared error of the global mean if bins 1 … n − 1 are equally frequent."""
    return ((n_bins - 1) ** 2 - 1) / 12


def masks(
    bins_CG: npt.ArrayLike,
    rng: np.random.Generator,
    share: float = MASKED_SHARE,
    draws: int = MASKED_DRAWS,
) -> Iterator[Mask]:
    """Draw masks of a share of each cell's non-zero bins, at least one where there are two."""
    bins = _checked_bins(bins_CG)
    filled_CG = bins > 0
    count_C = filled_CG.sum(axis=1)
    hidden_C = np.where(count_C > 1, np.maximum(1, np.round(share * count_C)), 0)
    for _ in range(draws):
        order_CG = np.where(filled_CG, rng.random(bins.shape), 2.0).argsort(axis=1).argsort(axis=1)
        yield filled_CG & (order_CG < hidden_C[:, None])


def scaled_ranks(tokens_T: npt.ArrayLike, n_genes: int) -> Floats:
    """Turn a sequence of gene tokens into a rank a gene: first 1, falling to 1/T; absent 0.

    A gene that is there more than once has the mean of its ranks.
    """
    tokens = np.asarray(tokens_T, dtype=np.int64)
    if tokens.size and not (tokens.min() >= 0 and tokens.max() < n_genes):
        raise UserError(
            f"gene tokens lie between 0 and {n_genes - 1}",
            got=f"{tokens.min()} … {tokens.max()}",
            remedy="drop special tokens first",
        )
    rank_T = (len(tokens) - np.arange(len(tokens))) / max(1, len(tokens))
    count_G = np.bincount(tokens, minlength=n_genes)
    return np.bincount(tokens, weights=rank_T, minlength=n_genes) / np.maximum(count_G, 1)


def rank_correlations(truth_CG: npt.ArrayLike, predicted_CG: npt.ArrayLike) -> Floats:
    """Pearson correlation of each cell's scaled ranks over the genes in either; 0 if constant."""
    truth, predicted = np.asarray(truth_CG, np.float64), np.asarray(predicted_CG, np.float64)
    either = (truth > 0) | (predicted > 0)
    count = np.maximum(either.sum(axis=1, keepdims=True), 1)
    a = np.where(either, truth - truth.sum(axis=1, keepdims=True) / count, 0.0)
    b = np.where(either, predicted - predicted.sum(axis=1, keepdims=True) / count, 0.0)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(scale > 1e-12, (a * b).sum(axis=1) / np.where(scale > 1e-12, scale, 1), 0.0)


def mean_rank_floor(rank_CG: npt.ArrayLike, fold_C: npt.ArrayLike | None = None) -> Floats:
    """Mean scaled rank of each gene where it is present, at the genes of the cell.

    Without folds over the evaluated cells themselves, as published; with folds over the others.
    """
    rank = np.asarray(rank_CG, dtype=np.float64)
    overall = float(rank[rank > 0].mean()) if (rank > 0).any() else 0.0
    if fold_C is None:
        mean_G = _means(rank, rank > 0, 0, np.full(rank.shape[1], overall))
        mean_CG = np.broadcast_to(mean_G, rank.shape)
    else:
        mean_CG = _gene_means_out_of_fold(rank, checked_codes(fold_C, len(rank), "fold"))
    return np.where(rank > 0, mean_CG, 0.0)


def _checked_bins(bins_CG: npt.ArrayLike) -> Floats:
    bins = np.array(bins_CG, dtype=np.float64)
    if bins.ndim != 2 or not np.isfinite(bins).all() or (bins < 0).any():
        raise UserError(
            "bins are a table of cells by genes, 0 or more",
            got=f"shape {bins.shape}, or a negative or missing bin",
            remedy="pass the bins that the model is given",
        )
    return bins


def _means(values_CG: Floats, used_CG: Mask, axis: int, otherwise: Floats) -> Floats:
    count = used_CG.sum(axis=axis)
    total = np.where(used_CG, values_CG, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), otherwise)


def _gene_means_out_of_fold(bins_CG: Floats, fold_C: Codes) -> Floats:
    if int(fold_C.max()) < 1:
        raise UserError(
            "a floor out of fold needs two folds", got="one", remedy="deal the cells to folds"
        )
    mean_CG = np.empty_like(bins_CG)
    for each in range(int(fold_C.max()) + 1):
        others = bins_CG[fold_C != each]
        filled = others > 0
        overall = float(others[filled].mean()) if filled.any() else 0.0
        mean_CG[fold_C == each] = _means(others, filled, 0, np.full(others.shape[1], overall))
    return mean_CG


def _neighbour_means(
    bins_CG: Floats, visible_CG: Mask, fold_C: Codes, otherwise_CG: Floats
) -> Floats:
    """Average the bins of the 15 cells of other folds that are nearest in 20 components."""
    components = principal_components(np.where(visible_CG, bins_CG, 0.0), FLOOR_COMPONENTS)
    near = nearest_in_other_groups(components, fold_C, FLOOR_NEIGHBOURS).index_CK
    return np.stack(
        [
            _means(bins_CG[near[cell]], bins_CG[near[cell]] > 0, 0, otherwise_CG[cell])
            for cell in range(len(bins_CG))
        ]
    )


def _differences(
    bins_CG: npt.ArrayLike, predicted_CG: npt.ArrayLike, masked_CG: Mask | None
) -> Floats:
    bins = _checked_bins(bins_CG)
    scored_CG = bins > 0 if masked_CG is None else (bins > 0) & masked_CG
    if not scored_CG.any():
        raise UserError(
            "reconstruction is scored on bins above 0", got="none", remedy="mask some or pass more"
        )
    return np.asarray((np.asarray(predicted_CG, dtype=np.float64) - bins)[scored_CG])
