"""An embedding of genes as a result of its own: built from a corpus, judged on other cells.

Legend: G genes, W width of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import eigsh

from leadline.config import Gene2vecConfig
from leadline.data.cells import Cells
from leadline.data.cells.stored_rows import StoredRows
from leadline.errors import UserError
from leadline.models.base import GeneVectors
from leadline.models.scbert.tokens import (
    READABLE,
    Tokens,
    read_genes,
    require_same_genes,
    scbert_tokens,
)
from leadline.progress import progress
from leadline.stats.jit import compiled

GENES_AT_A_TIME = 1024
CELLS_AT_A_TIME = 8192
# Up to this many genes all eigenvectors are computed: as fast, and without iterations.
GENES_FOR_ALL = 2000
# Written beside an embedding of ours; published files come without.
GENES_FILE = "pretrained_genes.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An embedding of genes, and how much of the association between genes it keeps.

    `energy` is the share of the squared singular values; genes that are never expressed are zeros.
    """

    table_GW: NDArray[np.float32]
    energy: float
    expressed: int


def read(path: Path, genes: NDArray[np.str_], width: int) -> NDArray[np.float32]:
    """Read an embedding from a `.npy` file: one row for each gene, in the same order.

    Raises
    ------
    UserError
        When the file is no array, of another size, holds what is no number, or says that it
        belongs to other genes.
    """
    try:
        table_GW = np.load(path, allow_pickle=False, mmap_mode="r")
        shape = getattr(table_GW, "shape", ())
        numbers = len(shape) == 2 and np.issubdtype(table_GW.dtype, np.floating)
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            "gene2vec must be an .npy file of plain numbers",
            got=f"{str(path)!r} ({reason})",
            remedy="fetch or copy it again; nothing that needs pickle is read",
        ) from error
    if not numbers or shape != (len(genes), width):
        raise UserError(
            "gene2vec must have a row for each gene and the width of the model",
            got=f"{' x '.join(map(str, shape))} of {table_GW.dtype} for {len(genes):,} genes and "
            f"width {width}",
            remedy="choose the model's width to fit, align the cells with model.genes=, or build "
            "an embedding of these genes with model.gene2vec=built",
        )
    table_GW = np.array(table_GW, dtype=np.float32)
    if not np.isfinite(table_GW).all():
        raise UserError(
            "gene2vec must hold finite numbers",
            got=f"{(~np.isfinite(table_GW)).sum():,} that are not in {str(path)!r}",
            remedy="fetch or make it again",
        )
    if path.with_name(GENES_FILE).is_file():
        require_same_genes(genes.tolist(), read_genes(path.with_name(GENES_FILE)).tolist())
    return table_GW


def random(n_genes: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Give each gene an identity that says nothing of it."""
    return rng.standard_normal((n_genes, width), dtype=np.float32)


def build(tokens: Tokens, width: int, method: str = "ppmi") -> Built:
    """Embed genes by truncated singular value decomposition of their association.

    Memory is four bytes for each pair of genes, whatever the number of cells. The table is scaled
    to a mean square of 1 over the expressed genes, as the tokens' own embedding starts.

    Raises
    ------
    UserError
        When fewer than two genes are expressed.
    """
    table_GG = association(tokens, method)
    expressed_G = np.flatnonzero(cells_expressing(tokens))
    if len(expressed_G) < 2:
        raise UserError(
            "an embedding of genes needs at least 2 that are expressed",
            got=f"{len(expressed_G)} of {len(tokens.genes):,}",
            remedy="use more cells, or check data.scale",
        )
    value_K, vector_GK = largest(table_GG, min(width, len(expressed_G) - 1))
    table_GW = np.zeros((len(tokens.genes), width), np.float32)
    table_GW[:, : len(value_K)] = vector_GK * np.sqrt(np.abs(value_K))
    whole = float(np.square(table_GG, dtype=np.float64).sum())
    scale = float(np.sqrt(np.square(table_GW[expressed_G], dtype=np.float64).mean()))
    return Built(
        table_GW=table_GW / np.float32(scale or 1.0),
        energy=float(np.square(value_K).sum()) / max(whole, np.finfo(np.float64).tiny),
        expressed=len(expressed_G),
    )


def association(tokens: Tokens, method: str) -> NDArray[np.float32]:
    """Measure how far each pair of genes is expressed together: table_GG, symmetric.

    `ppmi`: the positive part of log(P(both) / (P(one) P(other))), of being expressed at all, 0 on
    the diagonal. `correlation`: Pearson's, of the bins.
    """
    n_genes, n_cells = len(tokens.genes), max(len(tokens), 1)
    together = TogetherOnDisk if isinstance(tokens.matrix_CL, StoredRows) else TogetherInMemory
    counted = together(tokens, binary=method == "ppmi")
    mean_G, square_G = counted.sum_G / n_cells, counted.square_G / n_cells
    deviation_G = np.sqrt(np.maximum(square_G - mean_G**2, 0.0))
    table_GG = counted.room_GG
    for start in range(0, n_genes, GENES_AT_A_TIME):
        some = slice(start, min(start + GENES_AT_A_TIME, n_genes))
        both_HG = counted.both(some) / n_cells
        apart_HG = np.outer(mean_G[some], mean_G)
        if method == "ppmi":
            ratio_HG = np.divide(both_HG, apart_HG, out=np.ones_like(both_HG), where=both_HG > 0)
            table_GG[some] = np.log(np.maximum(ratio_HG, 1.0))
        else:
            spread_HG = np.outer(deviation_G[some], deviation_G)
            table_GG[some] = np.divide(
                both_HG - apart_HG, spread_HG, out=np.zeros_like(both_HG), where=spread_HG > 0
            )
    if method == "ppmi":
        np.fill_diagonal(table_GG, 0.0)
    return table_GG


def cells_expressing(tokens: Tokens) -> NDArray[np.int64]:
    """Count the cells that express each gene."""
    matrix = tokens.matrix_CL
    if isinstance(matrix, StoredRows):
        return matrix.gene_counts()
    return np.bincount(matrix.indices, minlength=len(tokens.genes))[: len(tokens.genes)]


class TogetherInMemory:
    """Sums over cells of the products of two genes' tokens, a few genes at a time.

    `room_GG` is for the caller's table.
    """

    def __init__(self, tokens: Tokens, *, binary: bool) -> None:
        n_genes = len(tokens.genes)
        self.matrix_CG = tokens.matrix_CL[:, :n_genes].astype(np.float32)
        if binary:
            self.matrix_CG.data[:] = 1.0
        self.by_gene = self.matrix_CG.tocsc()
        arrays = (self.by_gene.data**2, self.by_gene.indices, self.by_gene.indptr)
        squared = sparse.csc_array(arrays, self.by_gene.shape)
        self.sum_G, self.square_G = (
            np.asarray(matrix.sum(axis=0, dtype=np.float64)).ravel()
            for matrix in (self.by_gene, squared)
        )
        self.room_GG = np.empty((n_genes, n_genes), np.float32)

    def both(self, some: slice) -> NDArray[np.float64]:
        """Give the sums of some genes with all."""
        both_HG: NDArray[np.float64] = (self.by_gene[:, some].T @ self.matrix_CG).toarray()
        return both_HG.astype(np.float64)


class TogetherOnDisk:
    """The same sums from one pass over a token store: four bytes a pair of genes, no matrix.

    Rows of `room_GG` are overwritten by the caller once they have been read.
    """

    def __init__(self, tokens: Tokens, *, binary: bool) -> None:
        n_genes = len(tokens.genes)
        self.room_GG = np.zeros((n_genes, n_genes), np.float32)
        self.sum_G, self.square_G = np.zeros(n_genes), np.zeros(n_genes)
        with progress("genes that go together", len(tokens)) as advance:
            for start in range(0, len(tokens), CELLS_AT_A_TIME):
                rows = np.arange(start, min(start + CELLS_AT_A_TIME, len(tokens)))
                cell_N, gene_N, token_N = tokens.stored(rows)
                value_N = np.ones(len(token_N)) if binary else token_N.astype(np.float64)
                self.sum_G += np.bincount(gene_N, value_N, n_genes)
                self.square_G += np.bincount(gene_N, value_N**2, n_genes)
                begin_B = np.searchsorted(cell_N, np.arange(len(rows) + 1))
                add_pairs(begin_B, gene_N, value_N.astype(np.float32), self.room_GG)
                advance(len(rows))

    def both(self, some: slice) -> NDArray[np.float64]:
        """Give the sums of some genes with all."""
        return self.room_GG[some].astype(np.float64)


@compiled
def add_pairs(begin_B, gene_N, value_N, sums_GG):  # type: ignore[no-untyped-def]
    """Add the products of all pairs of a cell's values, for each cell."""
    for b in range(len(begin_B) - 1):
        for i in range(begin_B[b], begin_B[b + 1]):
            row_G, value = sums_GG[gene_N[i]], value_N[i]
            for j in range(begin_B[b], begin_B[b + 1]):
                row_G[gene_N[j]] += value * value_N[j]


def largest(
    table_GG: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the eigenvalues of largest size, and their vectors; the same each time.

    Of a symmetric table these are its singular vectors. Each is signed so that its entry of
    largest size is positive.
    """
    n_genes = len(table_GG)
    if n_genes <= GENES_FOR_ALL:
        value_K, vector_GK = linalg.eigh(table_GG.astype(np.float64))
    else:
        # A fixed start makes the iterations the same each time.
        start_G = np.random.default_rng(0).standard_normal(n_genes).astype(np.float32)
        value_K, vector_GK = eigsh(table_GG, k=count, which="LM", v0=start_G)
    order = np.argsort(-np.abs(value_K), kind="stable")[:count]
    value_K, vector_GK = value_K[order].astype(np.float64), vector_GK[:, order].astype(np.float64)
    peak_K = np.abs(vector_GK).argmax(axis=0)
    return value_K, vector_GK * np.sign(vector_GK[peak_K, np.arange(len(value_K))])


# Pairs among so many genes, those that are expressed in most cells, are enough to compare tables.
GENES_COMPARED = 2000


class GeneEmbedding:
    """Learns which genes are expressed together."""

    accepts = READABLE

    def __init__(self, config: Gene2vecConfig) -> None:
        self.config = config

    def build(self, corpus: Cells) -> Built:
        """Embed the genes of a corpus."""
        self.tokens = self._tokens(corpus)
        return build(self.tokens, self.config.width, self.config.method)

    def embed_genes(self, control: Cells) -> GeneVectors:
        """Embed the genes of control cells; those that no cell expresses have none."""
        built = self.build(control)
        known_G = np.abs(built.table_GW).sum(axis=1) > 0
        names = np.asarray(self.genes)[known_G].tolist()
        return GeneVectors(genes=names, vectors_GD=built.table_GW[known_G], facts=self.facts(built))

    @property
    def genes(self) -> NDArray[np.str_]:
        """Give the genes in the order of the embedding."""
        return self.tokens.genes

    def facts(self, built: Built) -> dict[str, Any]:
        """Give what the record says of it."""
        alignment = self.tokens.alignment
        return {
            "parameters_total": built.table_GW.size,
            "parameters_trainable": built.table_GW.size,
            "genes_expressed": built.expressed,
            "genes_embedded": len(self.tokens.genes),
            "association_kept": built.energy,
            **({} if alignment is None else {"genes": alignment.report()}),
        }

    def agreement(self, table_GW: NDArray[np.float32], cells: Cells) -> dict[str, float]:
        """Correlate what goes together in other cells with what the embedding says of it.

        Beside it the same of the association in the corpus itself, before it was embedded.
        """
        other = self._tokens(cells)
        expressed_G = cells_expressing(self.tokens)
        chosen = np.sort(np.argsort(-expressed_G, kind="stable")[:GENES_COMPARED])
        pairs = np.triu_indices(len(chosen), 1)
        found = association(picked(other, chosen), self.config.method)[pairs]
        whole = association(picked(self.tokens, chosen), self.config.method)[pairs]
        said = (table_GW[chosen] @ table_GW[chosen].T)[pairs]
        return {
            "gene2vec_agreement": correlation(said, found),
            "gene2vec_agreement_of_association": correlation(whole, found),
        }

    def _tokens(self, cells: Cells) -> Tokens:
        own = self.config.genes == "own"
        reference = None if own else read_genes(Path(self.config.genes))
        return scbert_tokens(
            None,
            cells,
            reference,
            least_overlap=self.config.least_overlap,
            total=self.config.total,
        )


def picked(tokens: Tokens, chosen: NDArray[np.int64]) -> Tokens:
    """Take some genes, and the CLS."""
    matrix = tokens.matrix_CL
    if isinstance(matrix, StoredRows):
        picked_CL = matrix[:, chosen]
        picked_CL.resize(len(tokens), len(chosen) + 1)
    else:
        picked_CL = matrix[:, np.append(chosen, len(tokens.genes))]
    return Tokens(matrix_CL=picked_CL, genes=tokens.genes[chosen])


def correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Give Pearson's correlation, 0 where one of the two does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
