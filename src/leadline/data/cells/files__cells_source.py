"""What one file offers before anything is decided: a matrix, its tables and its other matrices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scipy import sparse

from leadline.data.cells.cells import Scale

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
    obs_file
        The table that obs of 10x data comes from.
    others
        The other matrices whose scale could be seen from their first cells.
    """

    path: Path
    matrix_CG: sparse.csr_array
    obs: pd.DataFrame
    var: pd.DataFrame
    layer: str = "X"
    genes_from: str = "the var index"
    obs_file: Path | None = None
    others: tuple[tuple[str, Scale], ...] = ()
    notes: tuple[str, ...] = ()

    def read_command(self) -> str:
        """Write the Python that gives a user these cells as `adata`, to begin a remedy with."""
        name = repr(str(self.path))
        if self.genes_from.endswith("var index"):
            return f"in Python: import anndata; adata = anndata.read_h5ad({name})"
        reader = "read_10x_mtx" if self.path.is_dir() else "read_10x_h5"
        command = f"in Python: import pandas, scanpy; adata = scanpy.{reader}({name})"
        if self.obs_file is None:
            return command
        separator = ", sep='\\t'" if ".tsv" in self.obs_file.name else ""
        table = f"pandas.read_csv({str(self.obs_file)!r}, index_col=0{separator})"
        return f"{command}; adata.obs = {table}.reindex(adata.obs_names)"
