"""How like the cells of a training set other cells are.

The measure: a cell's cosine similarity with the nearest class mean of the training cells, once as
the cell is and once after the centre of the class means was taken off both, each training cell
being left out of its own class's mean. A cell is unlike them when either lies below what all but
0.5 % of the training cells reach. The first sees other genes, tissues, chemistry and noise, the
second also a type of cell that the training set does not have (docs/log.md has figures). Scaling
a cell changes nothing in the first.

Shapes: B and C cells, D genes or dimensions, H classes that have training cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy import sparse

# Share of the training cells that would be called unlike themselves, by both measures together.
TAIL = 0.01
# A warning needs this share of unlike cells, and more of them than chance would give.
SHARE_TO_WARN, CHANCE = 0.1, 1e-3
ROWS_AT_A_TIME = 4096

Matrix: TypeAlias = "sparse.csr_array | NDArray[Any]"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Novelty:
    """The class means of a training set, and the similarities that all but 0.5 % of it reach."""

    means_HD: NDArray[np.float32]
    floor: float
    centred_floor: float

    def is_novel(self, matrix_CD: Matrix) -> NDArray[np.bool_]:
        """Mark the cells that are less like the training cells than 99 % of these are."""
        plain_C, centred_C = similarities(matrix_CD, self.means_HD.astype(np.float64))
        return np.asarray((plain_C < self.floor) | (centred_C < self.centred_floor))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Lay it out for a file; half precision moves a similarity by less than 0.001."""
        return {
            "like_means_HD": self.means_HD.astype(np.float16),
            "like_floors": np.array([self.floor, self.centred_floor]),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Novelty:
        """Make it of what `arrays` laid out."""
        means_HD = arrays["like_means_HD"].astype(np.float32)
        floor, centred_floor = arrays["like_floors"].tolist()
        return cls(means_HD=means_HD, floor=floor, centred_floor=centred_floor)


def fit_novelty(matrix_CD: Matrix, labels_C: NDArray[np.int32]) -> Novelty:
    """Take the class means of labelled cells, and how like them these cells are."""
    present, index_C = np.unique(labels_C, return_inverse=True)
    member_HC = sparse.csr_array(
        (np.ones(len(index_C)), (index_C, np.arange(len(index_C)))),
        shape=(len(present), len(index_C)),
    )
    sums_HD = member_HC @ matrix_CD
    sums_HD = np.asarray(sums_HD.toarray() if sparse.issparse(sums_HD) else sums_HD, np.float64)
    means_HD = sums_HD / np.bincount(index_C)[:, None]
    plain_C, centred_C = similarities(matrix_CD, means_HD, index_C)
    return Novelty(
        means_HD=means_HD.astype(np.float32),
        floor=float(np.quantile(plain_C, TAIL / 2)),
        centred_floor=float(np.quantile(centred_C, TAIL / 2)),
    )


def similarities(
    matrix_CD: Matrix, means_HD: Floats, own_C: NDArray[np.int64] | None = None
) -> tuple[Floats, Floats]:
    """Give each cell's similarity with the nearest mean, as it is and centred.

    With `own_C`, the classes that the cells belong to, each is left out of its own class's mean.
    """
    cells_H = None if own_C is None else np.bincount(own_C).astype(np.float64)
    found = []
    for centre_D in (np.zeros(means_HD.shape[1]), means_HD.mean(axis=0)):
        pieces = [np.empty(0)]
        for start in range(0, matrix_CD.shape[0], ROWS_AT_A_TIME):
            matrix_BD = matrix_CD[start : start + ROWS_AT_A_TIME]
            own_B = None if own_C is None else own_C[start : start + ROWS_AT_A_TIME]
            pieces.append(nearest(matrix_BD, means_HD, centre_D, own_B, cells_H))
        found.append(np.concatenate(pieces))
    return found[0], found[1]


def nearest(
    matrix_BD: Matrix,
    means_HD: Floats,
    centre_D: Floats,
    own_B: NDArray[np.int64] | None,
    cells_H: Floats | None,
) -> Floats:
    """Give the largest cosine of cell and class mean, seen from a centre; the matrix stays sparse.

    With n cells in the class, mean m and cell x the mean of the others is (n m - x) / (n - 1),
    whose length and product with x follow from those of m and x.
    """
    seen_HD = means_HD - centre_D
    cross_BH = np.asarray(matrix_BD @ seen_HD.T) - centre_D @ seen_HD.T
    square_B = squares(matrix_BD) - 2 * np.asarray(matrix_BD @ centre_D) + centre_D @ centre_D
    square_BH = np.tile((seen_HD**2).sum(axis=1), (len(square_B), 1))
    if own_B is not None and cells_H is not None:
        rows, n_B = np.arange(len(own_B)), cells_H[own_B]
        others_B = np.maximum(n_B - 1, 1)
        cross_B, mean_B = cross_BH[rows, own_B], square_BH[rows, own_B]
        cross_BH[rows, own_B] = (n_B * cross_B - square_B) / others_B
        left_B = n_B**2 * mean_B - 2 * n_B * cross_B + square_B
        square_BH[rows, own_B] = left_B / others_B**2
        # A class of one cell has no others to be like.
        cross_BH[rows[n_B == 1], own_B[n_B == 1]] = -np.inf
    length_BH = np.sqrt(np.maximum(square_BH, 0) * np.maximum(square_B, 0)[:, None])
    cosine_BH = cross_BH / np.maximum(length_BH, 1e-12)
    return np.asarray(cosine_BH.max(axis=1).clip(-1, 1))


def squares(matrix_BD: Matrix) -> Floats:
    """Give the squared length of each cell."""
    if sparse.issparse(matrix_BD):
        values: Any = matrix_BD.multiply(matrix_BD)  # type: ignore[union-attr]
        return np.asarray(values.sum(axis=1), np.float64).ravel()
    return (np.asarray(matrix_BD, np.float64) ** 2).sum(axis=1)


def is_suspicious(unlike_C: NDArray[np.bool_]) -> bool:
    """Say whether so many cells are unlike the training cells that a person must know."""
    many = unlike_C.mean() >= SHARE_TO_WARN if len(unlike_C) else False
    chance = scipy.stats.binom.sf(unlike_C.sum() - 1, max(len(unlike_C), 1), TAIL)
    return bool(many and chance < CHANCE)
