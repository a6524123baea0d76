"""Cells as scGPT's tokens: binned once, cut into packed batches without a loop over cells.

Legend: C cells, B cells of a batch, G genes that the vocabulary knows, N stored values, T tokens,
U genes of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.models.dropout import mix, words_of
from leadline.models.network import Batch, Moment, as_tensor
from leadline.tokens.kept import scgpt_ranges
from leadline.tokens.scgpt import MASK_VALUE, draw_from_each, middle, settle

# Each kind of draw goes its own way from the words of a cell.
TIES, TRUNCATION, MASKING = (np.uint64(n) for n in (1, 2, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How cells become tokens."""

    bins: int
    ties: str
    all_genes: bool
    max_length: int
    cls_id: int


class TokenSource:
    """The cells of one part; only genes that the vocabulary knows are among its columns.

    `lengths_C` counts tokens, so that cells of a length can be predicted together.
    """

    def __init__(
        self,
        matrix_CG: sparse.csr_array,
        id_G: NDArray[np.int64],
        rules: Rules,
        *,
        labels_C: NDArray[np.int32] | None = None,
        batch_C: NDArray[np.int64] | None = None,
        cache: Path | None = None,
    ) -> None:
        self.rules, self.labels_C, self.batch_C = rules, labels_C, batch_C
        # The last of a source's genes is `<cls>`.
        self.id_G = np.append(id_G, rules.cls_id)
        self.indptr, self.gene_N = matrix_CG.indptr.astype(np.int64), matrix_CG.indices
        self.low_N, self.high_N = scgpt_ranges(cache, matrix_CG, rules.bins)
        if rules.ties == "middle":
            self.low_N = self.high_N = middle(self.low_N, self.high_N)
        found_C = np.full(len(self), len(id_G)) if rules.all_genes else np.diff(self.indptr)
        self.lengths_C = np.minimum(found_C + 1, rules.max_length)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def batch(self, rows: NDArray[np.int64], moment: Moment) -> Batch:
        """Cut these rows out, each cell as `<cls>` and its genes."""
        return self.finish(rows, *self.tokens(rows, moment))

    def tokens(
        self, rows: NDArray[np.int64], moment: Moment
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Give tokens but for `<cls>`: tokens of each cell, the genes, the bins.

        A cell that is too long is sampled once, and equal edges are drawn for once: both follow
        from seed and row, not from the epoch.
        """
        start_B = self.indptr[rows]
        length_B = self.indptr[rows + 1] - start_B
        at_T = np.repeat(start_B - (np.cumsum(length_B) - length_B), length_B)
        at_T += np.arange(len(at_T))
        gene_T = self.gene_N[at_T].astype(np.int64)
        bin_T = self.settled(at_T, rows, length_B, moment.seed)
        if self.rules.all_genes:
            length_B, gene_T, bin_T = self.with_zeros(length_B, gene_T, bin_T)
        most = self.rules.max_length - 1
        if length_B.max(initial=0) > most:
            kept_B = np.minimum(length_B, most)
            words_T = self.words(rows, length_B, moment.seed, TRUNCATION)
            kept_T = draw_from_each(length_B, kept_B, words_T)
            length_B, gene_T, bin_T = kept_B, gene_T[kept_T], bin_T[kept_T]
        return length_B, gene_T, bin_T

    def settled(
        self,
        at_T: NDArray[np.int64],
        rows: NDArray[np.int64],
        length_B: NDArray[np.int64],
        seed: int,
    ) -> NDArray[np.int64]:
        """Give the bins of stored values, drawn where the rules say so."""
        if self.rules.ties == "middle":
            return self.high_N[at_T].astype(np.int64)
        uniform_T = (self.words(rows, length_B, seed, TIES) >> np.uint64(11)) * 2.0**-53
        return settle(self.low_N[at_T], self.high_N[at_T], uniform_T).astype(np.int64)

    def with_zeros(
        self, length_B: NDArray[np.int64], gene_T: NDArray[np.int64], bin_T: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Make a token of every gene."""
        n_genes = len(self.id_G) - 1
        bin_BG = np.zeros((len(length_B), n_genes), np.int64)
        bin_BG[np.repeat(np.arange(len(length_B)), length_B), gene_T] = bin_T
        whole_B = np.full(len(length_B), n_genes)
        return whole_B, np.tile(np.arange(n_genes), len(length_B)), bin_BG.ravel()

    def words(
        self,
        rows: NDArray[np.int64],
        length_B: NDArray[np.int64],
        seed: int,
        kind: np.uint64,
        epoch: int = 0,
    ) -> NDArray[np.uint64]:
        """Give each token random bits that follow from seed, epoch, row and its place alone."""
        cell_B = mix(words_of(seed=seed, epoch=epoch, rows=rows) ^ mix(kind))
        start_B = np.cumsum(length_B) - length_B
        place_T = np.arange(int(length_B.sum())) - np.repeat(start_B, length_B)
        return mix(np.repeat(cell_B, length_B) ^ place_T.astype(np.uint64))

    def finish(
        self,
        rows: NDArray[np.int64],
        length_B: NDArray[np.int64],
        gene_T: NDArray[np.int64],
        bin_T: NDArray[np.int64],
    ) -> Batch:
        """Put `<cls>` before each cell and name each gene by its place among the batch's own."""
        cls_B = np.cumsum(length_B + 1) - (length_B + 1)
        inside_T = np.ones(len(gene_T) + len(rows), bool)
        inside_T[cls_B] = False
        whole_gene_T = np.full(len(inside_T), len(self.id_G) - 1)
        whole_gene_T[inside_T] = gene_T
        whole_bin_T = np.zeros(len(inside_T), np.int64)
        whole_bin_T[inside_T] = bin_T
        there_G = np.zeros(len(self.id_G), bool)
        there_G[whole_gene_T] = True
        place_G = np.cumsum(there_G) - 1
        batch = {
            "ids": as_tensor(self.id_G[there_G]),
            "gene": as_tensor(place_G[whole_gene_T]),
            "level": as_tensor(whole_bin_T - MASK_VALUE),
            "lengths": as_tensor(length_B + 1),
        }
        if self.labels_C is not None:
            batch["labels"] = as_tensor(self.labels_C[rows])
        if self.batch_C is not None:
            batch["batches"] = as_tensor(self.batch_C[rows])
        return batch


def levels(bins: int) -> list[float]:
    """Give the values that tokens may have, in the order of their levels: the mask, then bins."""
    return [float(MASK_VALUE), *map(float, range(bins))]


def lengths_of(batch: Batch) -> tuple[int, ...]:
    """Give the tokens of each cell as plain numbers."""
    found: list[int] = batch["lengths"].tolist()
    return tuple(found)
