"""Cells as scGPT's tokens: binned once, cut into packed batches without a loop over cells.

Legend: C cells, B cells of a batch, G genes that the vocabulary knows, N stored values, T tokens,
U genes of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells.stored_rows import StoredRows
from leadline.models.dropout import random_words, splitmix64
from leadline.models.network import Batch, DrawKey, as_tensor
from leadline.models.scgpt.tokens import (
    MASK_VALUE,
    choose_bins,
    draw_from_each,
    middle_bins,
    scgpt_ranges,
)

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


class ScgptBatches:
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
        uniform_N: NDArray[np.float64] | None = None,
    ) -> None:
        """Bin values; `uniform_N` settles those that equal several edges, if the rules draw."""
        self.rules, self.labels_C, self.batch_C = rules, labels_C, batch_C
        # The last of a source's genes is `<cls>`.
        self.id_G = np.append(id_G, rules.cls_id)
        self.indptr = matrix_CG.indptr.astype(np.int64)
        self.stored = matrix_CG if isinstance(matrix_CG, StoredRows) else None
        if self.stored is None:
            self.bin(matrix_CG, cache, uniform_N)
        found_C = np.full(len(self), len(id_G)) if rules.all_genes else np.diff(self.indptr)
        self.lengths_C = np.minimum(found_C + 1, rules.max_length)

    def bin(
        self,
        matrix_CG: sparse.csr_array,
        cache: Path | None,
        uniform_N: NDArray[np.float64] | None,
    ) -> None:
        """Bin the values of a matrix in memory; a token store has bins already."""
        rules = self.rules
        self.gene_N = matrix_CG.indices.astype(np.int32, copy=False)
        self.low_N, self.high_N = scgpt_ranges(cache, matrix_CG, rules.bins)
        if rules.ties == "middle":
            self.low_N = self.high_N = middle_bins(self.low_N, self.high_N)
        elif uniform_N is not None:
            self.low_N = self.high_N = choose_bins(self.low_N, self.high_N, uniform_N)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def cls_gene(self) -> int:
        """Give the place of `<cls>` among the genes: behind them."""
        return len(self.id_G) - 1

    def batch(self, rows: NDArray[np.int64], moment: DrawKey) -> Batch:
        """Cut these rows out, each cell as `<cls>` and its genes."""
        return self.finish(rows, *self.tokens(rows, moment))

    def tokens(
        self, rows: NDArray[np.int64], moment: DrawKey
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        """Give the number of tokens of each cell, and their genes and bins, `<cls>` first.

        A cell that is too long is sampled once, and equal edges are drawn for once: both follow
        from seed and row, not from the epoch.
        """
        length_B, gene_T, bin_T = self.present(rows, moment)
        if self.rules.all_genes:
            length_B, gene_T, bin_T = self.with_zeros(length_B, gene_T, bin_T)
        most = self.rules.max_length
        if length_B.max(initial=0) > most:
            kept_B = np.minimum(length_B, most)
            word_T = self.words(rows, length_B, moment.seed, TRUNCATION)
            word_T[np.cumsum(length_B) - length_B] = 0
            kept_T = draw_from_each(length_B, kept_B, word_T)
            length_B, gene_T, bin_T = kept_B, gene_T[kept_T], bin_T[kept_T]
        return length_B, gene_T, bin_T

    def present(
        self, rows: NDArray[np.int64], moment: DrawKey
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        """Give the tokens of genes that the cells express, `<cls>` first."""
        before_B = self.indptr[rows] - 1
        length_B = self.indptr[rows + 1] - before_B
        first_B = np.cumsum(length_B) - length_B
        if self.stored is not None:
            _, gene_N, bin_N = self.stored.gather(rows)
            # Before the token at which a cell begins stands its `<cls>`.
            begin_B = first_B - np.arange(len(rows))
            gene_T = np.insert(gene_N, begin_B, np.int32(self.cls_gene))
            return length_B, gene_T, np.insert(bin_N, begin_B, np.uint8(0))
        at_T = np.repeat(before_B - first_B, length_B)
        at_T += np.arange(len(at_T))
        # At `<cls>` stands no value; whichever is read there is put right below.
        at_T[first_B] = 0
        gene_T, bin_T = self.gene_N.take(at_T, mode="clip"), self.high_N.take(at_T, mode="clip")
        if self.rules.ties == "random":
            word_T = self.words(rows, length_B, moment.seed, TIES)
            uniform_T = (word_T >> np.uint64(11)).astype(np.float64) * 2.0**-53
            bin_T = choose_bins(self.low_N.take(at_T, mode="clip"), bin_T, uniform_T)
        gene_T[first_B], bin_T[first_B] = self.cls_gene, 0
        return length_B, gene_T, bin_T

    def with_zeros(
        self, length_B: NDArray[np.int64], gene_T: NDArray[np.int32], bin_T: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
        """Make a token of every gene."""
        n_genes = len(self.id_G)
        bin_BG = np.zeros((len(length_B), n_genes), np.uint8)
        # `<cls>`, the last gene, comes first.
        place_T = (gene_T + 1) % n_genes
        bin_BG[np.repeat(np.arange(len(length_B)), length_B), place_T] = bin_T
        gene_G = np.roll(np.arange(n_genes, dtype=np.int32), 1)
        return np.full(len(length_B), n_genes), np.tile(gene_G, len(length_B)), bin_BG.ravel()

    def words(
        self,
        rows: NDArray[np.int64],
        length_B: NDArray[np.int64],
        seed: int,
        kind: np.uint64,
        epoch: int = 0,
    ) -> NDArray[np.uint64]:
        """Give each token random bits that follow from seed, epoch, row and its place alone."""
        cell_B = splitmix64(random_words(seed=seed, epoch=epoch, rows=rows) ^ splitmix64(kind))
        first_B = np.cumsum(length_B) - length_B
        place_T = np.arange(int(length_B.sum())) - np.repeat(first_B, length_B)
        return splitmix64(np.repeat(cell_B, length_B) ^ place_T.astype(np.uint64))

    def finish(
        self,
        rows: NDArray[np.int64],
        length_B: NDArray[np.int64],
        gene_T: NDArray[np.int32],
        bin_T: NDArray[np.uint8],
    ) -> Batch:
        """Name each gene by its place among the genes that are embedded for this batch.

        These are all of them, unless there are so few tokens that most would not occur.
        """
        id_U, place_T = self.id_G, gene_T
        if len(gene_T) < len(self.id_G):
            there_G = np.zeros(len(self.id_G), bool)
            there_G[gene_T] = True
            id_U, place_T = self.id_G[there_G], (np.cumsum(there_G) - 1)[gene_T].astype(np.int32)
        batch = {
            "ids": as_tensor(id_U),
            "gene": torch.from_numpy(place_T),
            "level": torch.from_numpy(bin_T.astype(np.int32) - np.int32(MASK_VALUE)),
            "lengths": as_tensor(length_B),
        }
        if self.labels_C is not None:
            batch["labels"] = as_tensor(self.labels_C[rows])
        if self.batch_C is not None:
            batch["batches"] = as_tensor(self.batch_C[rows])
        return batch


def levels(bins: int) -> list[float]:
    """Give the values that tokens may have, in the order of their levels: the mask, then bins."""
    return [float(MASK_VALUE), *map(float, range(bins))]
