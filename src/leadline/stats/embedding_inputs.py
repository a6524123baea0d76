"""What every score of an embedding asks of its arrays: finite vectors, one label for each cell.

Shapes: C cells, D dimensions, K principal components. Nothing here writes to the caller's arrays.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

from leadline.errors import UserError

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


def checked_vectors(vectors_CD: npt.ArrayLike, minimum: int = 2) -> Floats:
    """Copy an embedding in double precision; refuse what has no distances."""
    vectors = np.array(vectors_CD, dtype=np.float64, order="C")
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise UserError(
            "an embedding is a table of cells by dimensions",
            got=f"shape {vectors.shape}",
            remedy="pass one row a cell",
        )
    if len(vectors) < minimum:
        raise UserError(
            f"this score needs at least {minimum} cells",
            got=str(len(vectors)),
            remedy="score more cells",
        )
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise UserError(
            "an embedding must be finite",
            got=f"{bad} of {len(vectors)} cells with nan or infinity",
            remedy="drop those cells or find out why the model gave no number",
        )
    return vectors


def checked_codes(
    labels_C: npt.ArrayLike, n_cells: int | None = None, what: str = "label"
) -> Codes:
    """Turn a column into codes 0, 1, … of its sorted values; refuse missing values."""
    labels = np.asarray(labels_C)
    if labels.ndim != 1 or (n_cells is not None and len(labels) != n_cells):
        wanted = "a value a cell" if n_cells is None else f"{n_cells} values, one a cell"
        raise UserError(
            f"a {what} column has {wanted}",
            got=f"shape {labels.shape}",
            remedy="take the column from the same cells as the embedding",
        )
    if labels.size == 0:
        raise UserError(f"a {what} column needs cells", got="none", remedy="score some cells")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise UserError(
            f"each cell needs a {what}",
            got=f"{int((~np.isfinite(labels)).sum())} cells without one",
            remedy=f"drop the cells without {what} or name their group",
        )
    if labels.dtype.kind == "O":
        missing = sum(each is None or each != each for each in labels)
        if missing:
            raise UserError(
                f"each cell needs a {what}",
                got=f"{missing} cells without one",
                remedy=f"drop the cells without {what} or name their group",
            )
        labels = labels.astype(str)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def require_groups(codes_C: Codes, score: str, what: str) -> int:
    """Count the groups of a column; a score that compares groups needs two."""
    n_groups = int(codes_C.max()) + 1
    if n_groups < 2:
        raise UserError(
            f"{score} needs at least two {what}",
            got="one",
            remedy=f"leave {score} out for these cells",
        )
    return n_groups


def principal_components(vectors_CD: npt.ArrayLike, n_components: int) -> Floats:
    """Project on the first principal components, largest loading positive; fewer if there are.

    The smaller of the two Gram matrices is decomposed, in double precision. A wide embedding is
    reduced to 50 before its batch scores are taken: these depend on the number of dimensions.
    """
    vectors = checked_vectors(vectors_CD)
    vectors -= vectors.mean(axis=0)
    n_cells, n_dims = vectors.shape
    kept = min(n_components, n_dims, n_cells)
    if n_dims <= n_cells:
        loadings_DK = _leading_eigenvectors(vectors.T @ vectors, kept)
    else:
        scores_CK = _leading_eigenvectors(vectors @ vectors.T, kept)
        loadings_DK = vectors.T @ scores_CK
        length_K = np.linalg.norm(loadings_DK, axis=0)
        loadings_DK = loadings_DK / np.where(length_K > 0, length_K, 1.0)
    largest_K = np.abs(loadings_DK).argmax(axis=0)
    sign_K = np.where(loadings_DK[largest_K, np.arange(kept)] < 0, -1.0, 1.0)
    return np.asarray(vectors @ (loadings_DK * sign_K))


def _leading_eigenvectors(gram: Floats, kept: int) -> Floats:
    size = len(gram)
    vectors = scipy.linalg.eigh(gram, subset_by_index=[size - kept, size - 1])[1]
    return np.asarray(vectors[:, ::-1])
