"""Silhouettes of labels and batches: ASW label, ASW batch, BRAS, by blocks.

Conventions of scib and scib-metrics: a cell alone in its group, or with distance 0 to everything,
has silhouette 0. Shapes: C cells, D dimensions, G groups, B cells of a block.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.embedding_inputs import (
    Codes,
    Floats,
    checked_codes,
    checked_vectors,
    require_groups,
)
from leadline.stats.jit import compiled

BLOCK_NUMBERS = 5_000_000
Metric = Literal["euclidean", "cosine"]


def silhouettes(
    vectors_CD: npt.ArrayLike,
    group_C: npt.ArrayLike,
    metric: Metric = "euclidean",
    between: Literal["nearest", "all_others"] = "nearest",
) -> Floats:
    """Silhouette of each cell: (b − a)/max(a, b), a within its group, b to others.

    b is the mean distance to the nearest other group, or to all cells of other groups.
    """
    vectors = checked_vectors(vectors_CD)
    group = checked_codes(group_C, len(vectors), "group")
    require_groups(group, "a silhouette", "groups")
    order = np.argsort(group, kind="stable")
    sorted_CD, size_G = vectors[order], np.bincount(group)
    if metric == "cosine":
        length_C = np.linalg.norm(sorted_CD, axis=1, keepdims=True)
        sorted_CD = sorted_CD / np.where(length_C > 0, length_C, 1.0)
    else:
        sorted_CD = sorted_CD - sorted_CD.mean(axis=0)
    sum_CG = _distance_sums(sorted_CD, size_G, metric)
    result = np.empty(len(vectors))
    result[order] = _from_sums(sum_CG, group[order], size_G, between)
    return result


def asw_label(vectors_CD: npt.ArrayLike, label_C: npt.ArrayLike) -> float:
    """Mean silhouette of the labels, moved from −1 … 1 to 0 … 1; .5 says no structure."""
    label = checked_codes(label_C)
    n_labels = require_groups(label, "ASW label", "labels")
    if n_labels == len(label):
        raise UserError(
            "ASW label needs a label with two cells",
            got=f"{n_labels} labels for {len(label)} cells",
            remedy="use a coarser label",
        )
    return (float(silhouettes(vectors_CD, label).mean()) + 1) / 2


def asw_batch(vectors_CD: npt.ArrayLike, batch_C: npt.ArrayLike, label_C: npt.ArrayLike) -> float:
    """Mean over labels of the mean 1 − |silhouette of batch| of their cells; 1 is well mixed.

    It rises with the number of dimensions whatever the batches do: reduce wide embeddings to 50
    principal components. Labels of one batch, or with a batch a cell, are left out.
    """
    return _batch_silhouette(vectors_CD, batch_C, label_C, "ASW batch", "euclidean", "nearest")


def bras(vectors_CD: npt.ArrayLike, batch_C: npt.ArrayLike, label_C: npt.ArrayLike) -> float:
    """As `asw_batch`, with cosine distance and the mean over all cells of other batches."""
    return _batch_silhouette(vectors_CD, batch_C, label_C, "BRAS", "cosine", "all_others")


def _batch_silhouette(
    vectors_CD: npt.ArrayLike,
    batch_C: npt.ArrayLike,
    label_C: npt.ArrayLike,
    score: str,
    metric: Metric,
    between: Literal["nearest", "all_others"],
) -> float:
    vectors = checked_vectors(vectors_CD)
    batch = checked_codes(batch_C, len(vectors), "batch")
    label = checked_codes(label_C, len(vectors))
    require_groups(batch, score, "batches")
    means = []
    for each in range(int(label.max()) + 1):
        cells = np.flatnonzero(label == each)
        if 2 <= len(np.unique(batch[cells])) < len(cells):
            values = silhouettes(vectors[cells], batch[cells], metric, between)
            means.append(float((1 - np.abs(values)).mean()))
    if not means:
        raise UserError(
            f"{score} needs a label with cells of two batches, one of them with two cells",
            got="none",
            remedy="batch and label cannot be told apart here; leave the score out",
        )
    return float(np.mean(means))


def _distance_sums(vectors_CD: Floats, size_G: Codes, metric: Metric) -> Floats:
    """Sum of distances from each cell to the cells of each group; cells come sorted by group."""
    n_cells = len(vectors_CD)
    ends_G = np.cumsum(size_G)
    square_C = np.einsum("cd,cd->c", vectors_CD, vectors_CD)
    # What rounding leaves of the distance between copies.
    zero = 16 * (vectors_CD.shape[1] + 8) * np.finfo(np.float64).eps
    sum_CG = np.empty((n_cells, len(size_G)))
    block = max(1, BLOCK_NUMBERS // n_cells)
    for start in range(0, n_cells, block):
        rows = slice(start, start + block)
        product_BC = vectors_CD[rows] @ vectors_CD.T
        _add_up(product_BC, square_C, ends_G, start, metric == "cosine", zero, sum_CG[rows])
    return sum_CG


def _from_sums(sum_CG: Floats, group_C: Codes, size_G: Codes, between: str) -> Floats:
    cells = np.arange(len(group_C))
    own_size_C = size_G[group_C]
    own_sum_C = sum_CG[cells, group_C]
    within_C = own_sum_C / np.maximum(own_size_C - 1, 1)
    if between == "nearest":
        mean_CG = sum_CG / size_G
        mean_CG[cells, group_C] = np.inf
        between_C = mean_CG.min(axis=1)
    else:
        between_C = (sum_CG.sum(axis=1) - own_sum_C) / (len(group_C) - own_size_C)
    larger_C = np.maximum(within_C, between_C)
    value_C = (between_C - within_C) / np.where(larger_C > 0, larger_C, 1.0)
    return np.where(own_size_C > 1, value_C, 0.0)


@compiled
def _add_up(product_BC, square_C, ends_G, start, cosine, zero, sum_BG) -> None:  # type: ignore[no-untyped-def]
    for b in range(product_BC.shape[0]):
        own = square_C[start + b]
        first = 0
        for g in range(len(ends_G)):
            total = 0.0
            for c in range(first, ends_G[g]):
                if cosine:
                    distance = 1.0 - product_BC[b, c]
                    total += distance if distance >= zero and c != start + b else 0.0
                else:
                    square = own + square_C[c] - 2.0 * product_BC[b, c]
                    far = square >= 2.0 * zero * own and square > 0.0 and c != start + b
                    total += np.sqrt(square) if far else 0.0
            sum_BG[b, g] = total
            first = ends_G[g]
