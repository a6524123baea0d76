"""New cells on the genes and the scale of the cells that a run was trained on.

Shapes: C cells, G genes of the run, N genes of the new cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Cells, Scale
from leadline.data.cells.genes import kind_of_genes, match_keys
from leadline.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Cells on a run's genes, in its order, and how many of them the new file has."""

    cells: Cells
    present: int
    missing: int
    unused: int

    def describe(self) -> str:
        """Say in one line what became of the genes."""
        total = self.present + self.missing
        line = f"{self.present:,} of the run's {total:,} genes are in the file"
        if self.missing:
            line += f"; the other {self.missing:,} count as zero"
        return f"{line}; {self.unused:,} of the file's genes are not used"


def align(cells: Cells, genes: NDArray[np.str_], scale: Scale, minimum: float) -> Aligned:
    """Give cells the genes and the scale of a run; a gene that they lack is zero.

    Raises
    ------
    UserError
        When fewer than `minimum` of the run's genes are there, or the scales cannot be brought
        together.
    """
    place: dict[str, int] = {}
    for column, key in enumerate(match_keys(cells.genes).tolist()):
        place.setdefault(key, column)
    columns_G = np.array([place.get(key, -1) for key in match_keys(genes).tolist()])
    present = np.flatnonzero(columns_G >= 0)
    if len(present) < minimum * len(genes):
        raise too_few(cells, genes, len(present), minimum)
    matrix_CN, used = rescaled(cells, scale)
    # One product takes columns out, puts them in order and leaves zeros where there is none.
    selector_NG = sparse.csr_array(
        (np.ones(len(present), np.float32), (columns_G[present], present)),
        shape=(len(cells.genes), len(genes)),
    )
    matrix_CG = sparse.csr_array(matrix_CN @ selector_NG)
    matrix_CG.sort_indices()
    return Aligned(
        cells=replace(cells, matrix_CG=matrix_CG, genes=genes, scale=used),
        present=len(present),
        missing=len(genes) - len(present),
        unused=len(cells.genes) - len(np.unique(columns_G[present])),
    )


def rescaled(cells: Cells, scale: Scale) -> tuple[sparse.csr_array, Scale]:
    """Bring cells to the scale of a run; where that read counts, ln(1 + CP10k) says as much."""
    if cells.scale is scale:
        return cells.matrix_CG, scale
    wanted = Scale.LN_CP10K if scale is Scale.COUNTS else scale
    return cells.lognorm(wanted), wanted


def too_few(cells: Cells, genes: NDArray[np.str_], present: int, minimum: float) -> UserError:
    """Refuse cells that lack too many genes, and say what kinds of names do not meet."""
    kinds = kind_of_genes(genes), kind_of_genes(cells.genes)
    if kinds[0] != kinds[1]:
        remedy = (
            f"the run's genes are {kinds[0]} names ({genes[0]}), the file's are {kinds[1]} "
            f"({cells.genes[0]}): name a column of var with data.gene_column="
        )
    else:
        remedy = "use cells measured on the same genes, or lower --min-genes if you know better"
    return UserError(
        f"the file must hold at least {minimum:.0%} of the genes that the run knows",
        got=f"{present:,} of {len(genes):,}",
        remedy=remedy,
    )
