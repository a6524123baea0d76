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

from leadline.data.cells.cells import CELLS_AT_A_TIME, Cells, Scale
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


def keep_variable(
    cells: Cells, rows: NDArray[np.int64], count: int, which: str = "that are not reported on"
) -> Cells:
    """Give the cells with so many of their genes: those that vary most among `rows`.

    `which` says of the rows what they are. Library sizes stay those of all genes that were
    measured.
    """
    n_genes = len(cells.genes)
    if n_genes <= count:
        return cells
    kept_G = most_variable(cells.take(rows), count)
    note = (
        f"{count:,} of {n_genes:,} genes are used: those that vary most among the "
        f"{len(rows):,} cells {which}"
    )
    return replace(
        cells,
        matrix_CG=sparse.csr_array(cells.matrix_CG[:, kept_G]),
        genes=cells.genes[kept_G],
        notes=(*cells.notes, note),
    )


def most_variable(cells: Cells, count: int) -> NDArray[np.int64]:
    """Find the genes with the largest variance of log-normalised expression, in their order.

    Of equal ones the earlier is taken.
    """
    matrix_CG, n_genes = cells.lognorm(), len(cells.genes)
    sum_G, square_G = np.zeros(n_genes), np.zeros(n_genes)
    for start in range(0, len(cells), CELLS_AT_A_TIME):
        ends = matrix_CG.indptr[[start, min(start + CELLS_AT_A_TIME, len(cells))]]
        gene_N = matrix_CG.indices[ends[0] : ends[1]]
        value_N = matrix_CG.data[ends[0] : ends[1]].astype(np.float64)
        sum_G += np.bincount(gene_N, value_N, minlength=n_genes)
        square_G += np.bincount(gene_N, value_N**2, minlength=n_genes)
    variance_G = square_G / len(cells) - (sum_G / len(cells)) ** 2
    return np.sort(np.argsort(-variance_G, kind="stable")[:count])


MEAN_BINS = 20
# What a mean of nothing counts as, and what makes the median deviation that of a Gaussian.
SILENT, GAUSSIAN = 1e-12, 0.6744897501960817


def chosen_genes(cells: Cells, count: int, flavour: str) -> NDArray[np.int64]:
    """Find so many variable genes as a flavour of scanpy does, or by their variance, in order.

    `seurat` and `cell_ranger` compare the dispersion of a gene with genes of a like mean,
    `seurat_v3` the variance of its counts with a curve over the mean; all are those of scanpy's
    `highly_variable_genes` over all batches together. Ties go to the earlier.
    """
    if len(cells.genes) <= count:
        return np.arange(len(cells.genes))
    if flavour == "variance":
        return most_variable(cells, count)
    if flavour == "seurat_v3":
        score_G = _standardised_variances(cells)
        return np.sort(np.argsort(-score_G, kind="stable")[:count])
    mean_G, dispersion_G = _dispersions(cells, logarithms=flavour == "seurat")
    if flavour == "seurat":
        bin_G = _bins(mean_G, _equal_edges(mean_G))
        score_G = _standardised(dispersion_G, bin_G)
    else:
        edges = np.r_[-np.inf, np.percentile(mean_G, np.arange(10, 105, 5)), np.inf]
        score_G = _by_medians(dispersion_G, _bins(mean_G, edges))
    score_G = np.where(np.isfinite(score_G), score_G, -np.inf)
    return np.sort(np.argsort(-score_G, kind="stable")[:count])


def _dispersions(
    cells: Cells, *, logarithms: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give mean and variance over mean of log-normalised expression.

    With `logarithms` both are those of normalised counts, and themselves logarithms.
    """
    matrix_CG = cells.lognorm().astype(np.float64)
    if logarithms:
        matrix_CG.data = np.expm1(matrix_CG.data)
    n_cells = matrix_CG.shape[0]
    mean_G = np.asarray(matrix_CG.sum(axis=0)).ravel() / n_cells
    square_G = np.asarray((matrix_CG * matrix_CG).sum(axis=0)).ravel() / n_cells
    variance_G = (square_G - mean_G**2) * n_cells / max(1, n_cells - 1)
    mean_G = np.where(mean_G == 0, SILENT, mean_G)
    dispersion_G = variance_G / mean_G
    if not logarithms:
        return mean_G, dispersion_G
    with np.errstate(divide="ignore", invalid="ignore"):
        log_G = np.log(np.where(dispersion_G == 0, np.nan, dispersion_G))
    return np.log1p(mean_G), log_G


def _equal_edges(mean_G: NDArray[np.float64]) -> NDArray[np.float64]:
    edges = np.linspace(mean_G.min(), mean_G.max(), MEAN_BINS + 1)
    # As pandas' cut: the lowest value belongs to the first bin.
    edges[0] -= 0.001 * (mean_G.max() - mean_G.min())
    return edges


def _bins(mean_G: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the bin of each mean; bins are open below and closed above."""
    return np.searchsorted(edges, mean_G, side="left") - 1


def _standardised(value_G: NDArray[np.float64], bin_G: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(len(value_G), np.nan)
    for each in np.unique(bin_G):
        mine = bin_G == each
        known = value_G[mine & np.isfinite(value_G)]
        if len(known) == 1:
            # A gene alone in its bin counts as one deviation above the rest.
            result[mine] = value_G[mine] / known[0]
        elif len(known):
            spread = known.std(ddof=1)
            result[mine] = (value_G[mine] - known.mean()) / (spread if spread > 0 else 1.0)
    return result


def _by_medians(value_G: NDArray[np.float64], bin_G: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(len(value_G), np.nan)
    for each in np.unique(bin_G):
        mine = bin_G == each
        median = np.median(value_G[mine])
        spread = np.median(np.abs(value_G[mine] - median)) / GAUSSIAN
        with np.errstate(divide="ignore", invalid="ignore"):
            result[mine] = (value_G[mine] - median) / spread
    return result


def _standardised_variances(cells: Cells) -> NDArray[np.float64]:
    """Give the variance of counts in units of what genes of their mean have, values clipped."""
    matrix_CG = cells.counts().astype(np.float64)
    n_cells = matrix_CG.shape[0]
    mean_G = np.asarray(matrix_CG.sum(axis=0)).ravel() / n_cells
    square_G = np.asarray((matrix_CG * matrix_CG).sum(axis=0)).ravel()
    variance_G = (square_G - n_cells * mean_G**2) / max(1, n_cells - 1)
    varies = variance_G > 0
    curve_G = np.zeros(len(mean_G))
    curve_G[varies] = local_quadratic(np.log10(mean_G[varies]), np.log10(variance_G[varies]))
    spread_G = np.sqrt(10**curve_G)
    clipped = matrix_CG.copy()
    most_G = spread_G * np.sqrt(n_cells) + mean_G
    clipped.data = np.minimum(clipped.data, most_G[clipped.indices])
    sum_G = np.asarray(clipped.sum(axis=0)).ravel()
    square_G = np.asarray((clipped * clipped).sum(axis=0)).ravel()
    total_G = n_cells * mean_G**2 + square_G - 2 * sum_G * mean_G
    return total_G / ((n_cells - 1) * spread_G**2)


def local_quadratic(
    x_N: NDArray[np.float64], y_N: NDArray[np.float64], span: float = 0.3
) -> NDArray[np.float64]:
    """Fit a parabola around each x to the nearest share of the points, with tricube weights."""
    places, inverse = np.unique(x_N, return_inverse=True)
    order = np.argsort(x_N, kind="stable")
    x, y = x_N[order], y_N[order]
    near = min(len(x), max(3, int(np.floor(span * len(x) + 1e-5))))
    fitted = np.empty(len(places))
    for at, place in enumerate(places):
        # The window of the nearest points slides with the place.
        start = int(np.searchsorted(x, place))
        low, high = max(0, start - near), min(len(x), start + near)
        chosen = np.argsort(np.abs(x[low:high] - place), kind="stable")[:near] + low
        away = x[chosen] - place
        reach = np.abs(away).max()
        weight = (1 - np.minimum(np.abs(away) / reach, 1) ** 3) ** 3 if reach > 0 else away * 0 + 1
        powers = np.stack([np.ones_like(away), away, away**2], axis=1)
        root = np.sqrt(weight)[:, None]
        fitted[at] = np.linalg.lstsq(powers * root, y[chosen] * root[:, 0], rcond=None)[0][0]
    return fitted[inverse]
