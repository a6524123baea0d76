"""Names of genes: which column holds them, what kind they are, and that each is there once.

Names are kept as the file has them. To look genes up in another list, compare `match_keys`:
there the version of an Ensembl id (ENSG00000141510.18) does not count.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Cells, Scale
from leadline.data.cells.files import FileContents
from leadline.data.cells.limits import check_lengths
from leadline.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd


ENSEMBL = re.compile(r"ENS[A-Z]{0,4}G\d{11}(\.\d+)?(_PAR_Y)?", re.IGNORECASE)
SYMBOL = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9._@/:()-]{0,30}")
SYMBOL_COLUMNS = ("gene_name", "symbol", "feature_name", "gene_symbols", "gene_symbol", "name")


def kind_of_genes(genes: NDArray[np.str_]) -> str:
    """Say whether most names are "ensembl" ids or a "symbol"; "other" for numbers and such."""
    shown = genes[np.unique(np.linspace(0, genes.size - 1, 2000).astype(np.int64))].tolist()
    if np.mean([bool(ENSEMBL.fullmatch(gene)) for gene in shown]) > 0.5:
        return "ensembl"
    if np.mean([bool(SYMBOL.fullmatch(gene)) for gene in shown]) > 0.5:
        return "symbol"
    return "other"


def match_keys(genes: NDArray[np.str_]) -> NDArray[np.str_]:
    """Give the names by which genes are compared: Ensembl ids without their version."""
    return np.array(
        [gene.split(".")[0] if ENSEMBL.fullmatch(gene) else gene for gene in genes.tolist()],
        dtype=np.str_,
    )


def gene_names(
    source: FileContents, column: str | None
) -> tuple[NDArray[np.str_], str, tuple[str, ...]]:
    """Take the names from the index of var or from a column: names, their kind, notes."""
    var = source.var
    if column is not None and column not in var:
        raise UserError(
            "data.gene_column must name a column of var",
            got=f"{column}, which {source.path.name} does not have",
            remedy=nearest(column, map(str, var.columns)),
        )
    series = var.index.to_series() if column is None else var[column]
    where = source.genes_from if column is None else f"var column {column}"
    blank_G = (series.isna() | (series.astype(str).str.strip() == "")).to_numpy()
    if blank_G.any():
        raise UserError(
            "every gene must have a name",
            got=f"{blank_G.sum():,} of {blank_G.size:,} empty names in {where}",
            remedy=_other_columns(source, column) or "fill them in and save the file again",
        )
    check_lengths(series, where)
    genes = series.astype(str).to_numpy(dtype=np.str_)
    _check_unique(source, genes, column, where)
    kind = kind_of_genes(genes)
    return genes, kind, _notes(var, kind, where)


def _check_unique(
    source: FileContents, genes: NDArray[np.str_], column: str | None, where: str
) -> None:
    repeated = [gene for gene, times in Counter(genes.tolist()).items() if times > 1]
    if not repeated:
        return
    shown = ", ".join(repeated[:3]) + (", ..." if len(repeated) > 3 else "")
    other = _other_columns(source, column)
    command = _make_unique(source, column)
    raise UserError(
        "gene names must be unique",
        got=f"{len(repeated):,} names that occur more than once in {where} ({shown})",
        remedy=f"{other}, or {command}" if other else command,
    )


def _make_unique(source: FileContents, column: str | None) -> str:
    """Write the lines that number repeated names and save a file that can be read."""
    read = source.read_command()
    if source.layer == "raw" and source.genes_from == "the raw var index":
        read += "; adata = adata.raw.to_adata()"
    if column is not None and source.genes_from.endswith("var index"):
        read += f"; adata.var_names = list(adata.var[{column!r}].astype(str))"
    return f"{read}; adata.var_names_make_unique(); adata.write_h5ad('unique.h5ad')"


def _other_columns(source: FileContents, column: str | None) -> str | None:
    """Name a column of var that would do as gene names."""
    for other in source.var.columns:
        values = source.var[other]
        if other == column or values.isna().any() or values.duplicated().any():
            continue
        if kind_of_genes(values.astype(str).to_numpy(dtype=np.str_)) != "other":
            return f"name another column with data.gene_column={other}"
    return None


def _notes(var: pd.DataFrame, kind: str, where: str) -> tuple[str, ...]:
    if kind == "ensembl":
        found = next((column for column in SYMBOL_COLUMNS if column in var), None)
        symbols = f"; data.gene_column={found} holds symbols" if found else ""
        return (f"genes are Ensembl ids from {where}{symbols}",)
    if kind == "symbol":
        return (f"genes are symbols from {where}",)
    return (f"gene names from {where} are neither symbols nor Ensembl ids",)


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
