"""A matrix of tokens that lies in mapped files: rows are read when a batch asks for them.

It stands where `Cells` has a CSR matrix. Whoever takes cells of a part gets the same files with
other row numbers, so that a part costs 8 bytes a cell.

Legend: C cells, B cells of a batch, G genes, S shards, N tokens that are not zero, L positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.stats.jit import compiled

ROWS_AT_A_TIME = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Cells in a row: cell i has the tokens from start[i] to start[i + 1]; genes count from 0."""

    start: NDArray[np.int64]
    gene_N: NDArray[np.uint16]
    token_N: NDArray[np.uint8]


class StoredRows:
    """Rows of a token store, all of them or those of a part.

    `tokenizer` says what made the tokens, and `content` is the SHA-256 of the whole store's.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        n_genes: int,
        *,
        tokenizer: Mapping[str, Any],
        content: str,
        rows_C: NDArray[np.int64] | None = None,
    ) -> None:
        self.shards, self.n_genes = shards, n_genes
        self.tokenizer, self.content, self.rows_C = tokenizer, content, rows_C
        cells_S = np.array([len(shard.start) - 1 for shard in shards], np.int64)
        self.first_S = np.concatenate([np.zeros(1, np.int64), np.cumsum(cells_S)])

    @property
    def shape(self) -> tuple[int, int]:
        """Count cells and genes."""
        n_cells = int(self.first_S[-1]) if self.rows_C is None else len(self.rows_C)
        return n_cells, self.n_genes

    @property
    def nnz(self) -> int:
        """Count the tokens that are not zero."""
        return int(self.indptr[-1])

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Give where each row would begin in a CSR matrix of these rows."""
        length_C = np.concatenate([np.diff(shard.start) for shard in self.shards])
        own_C = length_C if self.rows_C is None else length_C[self.rows_C]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(own_C)])

    def gene_counts(self) -> NDArray[np.int64]:
        """Count the rows in which each gene has a token, in one pass."""
        counts_G = np.zeros(self.n_genes, np.int64)
        for start in range(0, self.shape[0], ROWS_AT_A_TIME):
            rows = np.arange(start, min(start + ROWS_AT_A_TIME, self.shape[0]))
            counts_G += np.bincount(self.gather(rows)[1], minlength=self.n_genes)
        return counts_G

    def view(self, rows: NDArray[np.integer]) -> StoredRows:
        """Give these rows, in this order, without reading them."""
        own_C: NDArray[np.int64] = np.arange(self.shape[0])[rows]
        return StoredRows(
            self.shards,
            self.n_genes,
            tokenizer=self.tokenizer,
            content=self.content,
            rows_C=own_C if self.rows_C is None else self.rows_C[own_C],
        )

    def __getitem__(self, which: Any) -> sparse.csr_array:
        """Read rows, or all rows of some columns, as a CSR matrix in memory."""
        if isinstance(which, tuple):
            rows, columns = which
            assert rows == slice(None)
            starts = range(0, self.shape[0], ROWS_AT_A_TIME)
            blocks = [self[start : start + ROWS_AT_A_TIME][:, columns] for start in starts]
            return sparse.csr_array(sparse.vstack(blocks, format="csr"))
        chosen_B = np.atleast_1d(np.arange(self.shape[0])[which])
        cell_N, gene_N, token_N = self.gather(chosen_B)
        found_BG = sparse.csr_array((len(chosen_B), self.n_genes), dtype=np.uint8)
        # Put in place by hand: scipy's constructor would widen the indices.
        found_BG.data, found_BG.indices = token_N, gene_N
        counts_B = np.bincount(cell_N, minlength=len(chosen_B))
        found_BG.indptr = np.concatenate([[0], np.cumsum(counts_B)]).astype(np.int32)
        return found_BG

    def gather(
        self, rows: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        """Read the N tokens of these rows that are not zero: place among them, gene, token."""
        at_B, shard_B, there = self._places(rows)
        length_B = np.empty(len(at_B), np.int64)
        for s in there:
            count_of_rows(self.shards[s].start, at_B, shard_B, s, length_B)
        begin_B = np.cumsum(length_B) - length_B
        total = int(length_B.sum())
        gene_N, token_N = np.empty(total, np.int32), np.empty(total, np.uint8)
        for s in there:
            shard = self.shards[s]
            copy_rows(
                *(shard.start, shard.gene_N, shard.token_N),
                *(at_B, shard_B, s, begin_B, gene_N, token_N),
            )
        return np.repeat(np.arange(len(at_B)), length_B), gene_N, token_N

    def dense(self, rows: NDArray[np.integer], length: int) -> NDArray[np.uint8]:
        """Read rows as tokens_BL of so many positions; positions behind the genes are zero."""
        at_B, shard_B, there = self._places(rows)
        tokens_BL = np.zeros((len(at_B), length), np.uint8)
        for s in there:
            shard = self.shards[s]
            spread_rows(shard.start, shard.gene_N, shard.token_N, at_B, shard_B, s, tokens_BL)
        return tokens_BL

    def _places(
        self, rows: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
        """Give the place of each row in its shard, that shard, and the shards that there are."""
        row_B = np.asarray(rows, np.int64) if self.rows_C is None else self.rows_C[rows]
        shard_B = np.searchsorted(self.first_S, row_B, side="right") - 1
        return row_B - self.first_S[shard_B], shard_B, np.flatnonzero(np.bincount(shard_B)).tolist()


@compiled
def count_of_rows(start, at_B, shard_B, shard, length_B):  # type: ignore[no-untyped-def]
    """Count the tokens of the rows that lie in one shard."""
    for b in range(len(at_B)):
        if shard_B[b] == shard:
            length_B[b] = start[at_B[b] + 1] - start[at_B[b]]


@compiled
def copy_rows(  # type: ignore[no-untyped-def]
    start, from_gene_N, from_token_N, at_B, shard_B, shard, begin_B, gene_N, token_N
):
    """Copy the rows that lie in one shard, each to where it begins."""
    for b in range(len(at_B)):
        if shard_B[b] == shard:
            to = begin_B[b]
            for place in range(start[at_B[b]], start[at_B[b] + 1]):
                gene_N[to] = from_gene_N[place]
                token_N[to] = from_token_N[place]
                to += 1


@compiled
def spread_rows(start, gene_N, token_N, at_B, shard_B, shard, tokens_BL):  # type: ignore[no-untyped-def]
    """Put the tokens of the rows that lie in one shard where their genes stand."""
    for b in range(len(at_B)):
        if shard_B[b] == shard:
            for place in range(start[at_B[b]], start[at_B[b] + 1]):
                tokens_BL[b, gene_N[place]] = token_N[place]
