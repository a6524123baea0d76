"""Exact nearest neighbours by blocks: Euclidean, ties by index, memory bounded by one block.

A block of squared distances comes from one matrix product, which is fast but rounds. Whatever it
cannot tell from the k-th neighbour is measured again, difference by difference, and then sorted
by distance and index, so that the answer is that of a plain loop: copies of a cell are at
distance 0 and in the order of their indices.

Shapes: C cells, Q cells that ask, R cells that may answer, D dimensions, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.embedding_inputs import Codes, Floats, checked_codes, checked_vectors
from leadline.stats.jit import compiled

BLOCK_NUMBERS = 5_000_000  # distances held at once: 40 MB


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest others of each cell, nearest first; indices are rows of the embedding."""

    index_CK: npt.NDArray[np.int64]
    distance_CK: Floats

    @property
    def k(self) -> int:
        """Neighbours a cell, the cell itself not counted."""
        return self.index_CK.shape[1]

    def first(self, k: int) -> Neighbours:
        """Keep the k nearest of each cell, or all if there are fewer."""
        return Neighbours(self.index_CK[:, :k], self.distance_CK[:, :k])


def nearest_others(vectors_CD: npt.ArrayLike, k: int) -> Neighbours:
    """Find the k nearest other cells of each cell; all others if there are fewer than k."""
    vectors = checked_vectors(vectors_CD)
    _require_k(k)
    cells = np.arange(len(vectors))
    return _search(vectors, vectors, min(k, len(vectors) - 1), cells, cells)


def nearest_in_other_groups(
    vectors_CD: npt.ArrayLike, group_C: npt.ArrayLike, k: int
) -> Neighbours:
    """Find the k nearest cells of all other groups (folds, batches, donors) for each cell.

    If some group leaves fewer than k cells outside, k falls to the fewest left by any.
    """
    vectors = checked_vectors(vectors_CD)
    _require_k(k)
    group = checked_codes(group_C, len(vectors), "group")
    size = np.bincount(group)
    if len(size) < 2:
        raise UserError(
            "neighbours in other groups need two groups",
            got="one",
            remedy="use more folds or nearest_others",
        )
    k = min(k, len(vectors) - int(size.max()))
    index = np.empty((len(vectors), k), dtype=np.int64)
    distance = np.empty((len(vectors), k))
    for each in range(len(size)):
        asking, answering = np.flatnonzero(group == each), np.flatnonzero(group != each)
        found = _search(vectors[asking], vectors[answering], k, asking, answering)
        index[asking], distance[asking] = found.index_CK, found.distance_CK
    return Neighbours(index, distance)


def nearest_among(
    asking_QD: npt.ArrayLike, answering_RD: npt.ArrayLike, k: int
) -> npt.NDArray[np.int64]:
    """Give the rows of the k nearest answering cells for each asking cell, nearest first."""
    asking = checked_vectors(asking_QD, minimum=1)
    answering = checked_vectors(answering_RD, minimum=1)
    _require_k(k)
    nobody = np.full(len(asking), -1, dtype=np.int64)
    cells = np.arange(len(answering))
    return _search(asking, answering, min(k, len(answering)), nobody, cells).index_CK


def neighbours_within(
    neighbours: Neighbours, kept: npt.NDArray[np.integer], k: int, vectors_CD: npt.ArrayLike
) -> Neighbours:
    """Give the k nearest others within a subsample, in its own numbering, without a new search.

    Those of a list of the whole that were drawn are exactly the nearest in the subsample. Only if
    some cell has fewer than k left is the subsample searched.
    """
    kept = np.asarray(kept, dtype=np.int64)
    k = min(k, len(kept) - 1)
    position_C = np.full(len(neighbours.index_CK), -1, dtype=np.int64)
    position_C[kept] = np.arange(len(kept))
    position_SK = position_C[neighbours.index_CK[kept]]
    drawn_SK = position_SK >= 0
    if int(drawn_SK.sum(axis=1).min()) < k:
        return nearest_others(np.asarray(vectors_CD)[kept], k)
    order_SK = np.argsort(~drawn_SK, axis=1, kind="stable")[:, :k]
    return Neighbours(
        np.take_along_axis(position_SK, order_SK, axis=1),
        np.take_along_axis(neighbours.distance_CK[kept], order_SK, axis=1),
    )


def majority_vote(labels_CK: Codes, n_labels: int) -> Codes:
    """Give the most frequent label of each row, ties to the lower label."""
    rows = np.arange(len(labels_CK))[:, None] * n_labels
    votes = np.bincount((rows + labels_CK).ravel(), minlength=len(labels_CK) * n_labels)
    return votes.reshape(len(labels_CK), n_labels).argmax(axis=1).astype(np.int64)


def _require_k(k: int) -> None:
    if k < 1:
        raise UserError("a cell needs at least one neighbour", got=str(k), remedy="pass k ≥ 1")


def _search(
    vectors_QD: Floats, vectors_RD: Floats, k: int, cell_Q: Codes, cell_R: Codes
) -> Neighbours:
    index_QK = np.empty((len(vectors_QD), k), dtype=np.int64)
    distance_QK = np.empty((len(vectors_QD), k))
    # Centred, less is lost when two nearly equal squares are subtracted. What is measured again
    # is not: centring would round, and tell equal distances apart.
    centre_D = vectors_RD.mean(axis=0)
    centred_QD, centred_RD = vectors_QD - centre_D, vectors_RD - centre_D
    square_R = np.einsum("rd,rd->r", centred_RD, centred_RD)
    square_Q = np.einsum("qd,qd->q", centred_QD, centred_QD)
    largest = max(float(square_R.max()), float(square_Q.max()))
    # The bound of a sum of products in any order, and twice that, for both sides of a comparison.
    slack = 16 * (vectors_RD.shape[1] + 8) * np.finfo(np.float64).eps * largest
    block = max(1, BLOCK_NUMBERS // len(vectors_RD))
    for start in range(0, len(vectors_QD), block):
        rows = slice(start, start + block)
        approximate_BR = centred_QD[rows] @ centred_RD.T
        approximate_BR *= -2.0
        approximate_BR += square_R
        _select(
            approximate_BR,
            vectors_QD[rows],
            vectors_RD,
            cell_Q[rows],
            cell_R,
            slack,
            index_QK[rows],
            distance_QK[rows],
        )
    return Neighbours(index_QK, distance_QK)


@compiled
def _select(  # type: ignore[no-untyped-def]
    approximate_BR, vectors_BD, vectors_RD, cell_B, cell_R, slack, index_BK, distance_BK
) -> None:
    n_rows, n_answering = approximate_BR.shape
    k, n_dims = index_BK.shape[1], vectors_BD.shape[1]
    heap = np.empty(k)
    candidate = np.empty(n_answering, dtype=np.int64)
    exact = np.empty(n_answering)
    for b in range(n_rows):
        # The k smallest approximate distances, the largest of them on top of the heap.
        size = 0
        for r in range(n_answering):
            if cell_R[r] == cell_B[b]:
                continue
            value = approximate_BR[b, r]
            if size < k:
                at = size
                size += 1
                while at > 0 and heap[(at - 1) // 2] < value:
                    heap[at] = heap[(at - 1) // 2]
                    at = (at - 1) // 2
                heap[at] = value
            elif value < heap[0]:
                at = 0
                while True:
                    child = 2 * at + 1
                    if child >= k:
                        break
                    if child + 1 < k and heap[child + 1] > heap[child]:
                        child += 1
                    if heap[child] <= value:
                        break
                    heap[at] = heap[child]
                    at = child
                heap[at] = value
        limit = heap[0] + slack
        n_candidates = 0
        for r in range(n_answering):
            if approximate_BR[b, r] <= limit and cell_R[r] != cell_B[b]:
                total = 0.0
                for d in range(n_dims):
                    difference = vectors_BD[b, d] - vectors_RD[r, d]
                    total += difference * difference
                candidate[n_candidates] = r
                exact[n_candidates] = total
                n_candidates += 1
        order = np.argsort(exact[:n_candidates], kind="mergesort")  # stable: ties stay by index
        for j in range(k):
            index_BK[b, j] = cell_R[candidate[order[j]]]
            distance_BK[b, j] = np.sqrt(exact[order[j]])
