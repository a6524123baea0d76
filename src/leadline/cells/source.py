"""What one file offers before anything is decided: a matrix, its tables and its other matrices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scipy import sparse

from leadline.cells.matrix import Scale

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The contents of a file, as they lie.

    Attributes
    ----------
    obs, var
        One row per cell and per gene; the index holds their names.
    layer
        The matrix that was read: "X", "raw", or the name of a layer.
    genes_from
        How messages call the index of `var`.
    others
        The other matrices whose scale could be seen from their first cells.
    """

    path: Path
    matrix_CG: sparse.csr_array
    obs: pd.DataFrame
    var: pd.DataFrame
    layer: str = "X"
    genes_from: str = "the var index"
    others: tuple[tuple[str, Scale], ...] = ()
    notes: tuple[str, ...] = ()
