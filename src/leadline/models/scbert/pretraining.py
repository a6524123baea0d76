"""Masked pretraining as scBERT does it: hidden bins are to be named from those that show.

Of a cell's non-zero tokens ceil(15 %) are chosen; of these 90 % show the mask and 10 % stay. All
of the chosen count in the loss. Table 3 judges those that are hidden, scBERT's log all of them.

Without gene2vec all genes with the same token look alike to the network, so that a batch is a
count of tokens and a count of (token shown, bin to be named) for each cell.

Legend: C cells, B cells of a micro-batch, L positions, N chosen positions or kinds of them, T
tokens (7, the mask among them).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leadline.data.cells import Cells
from leadline.models.dropout import random_words, splitmix64
from leadline.models.network import Batch, BatchSource, DrawKey, MaskedObjective, Pretrainable
from leadline.models.scbert.tokens import (
    HIGHEST_BIN,
    MASK,
    N_TOKENS,
    Tokens,
    choose_lowest,
    histograms,
)

# The product with the number of tokens is taken in float32, as published: of 100 it chooses 16.
SHARE = np.float32(0.15)
HIDDEN = 0.9
CELLS_AT_A_TIME = 4096
# So many bits of a word choose; others say what hides.
DRAW_BITS = 24

# Measured sums over cells and positions, by name.
Sums = dict[str, NDArray[np.float64]]
# (network, batch) → logits_NT at the batch's `where`.
Logits = Callable[[nn.Module, Batch], Tensor]


class MaskedBins(Pretrainable):
    """A model that learns to name hidden bins; it says how cells become tokens and logits."""

    @property
    @abstractmethod
    def collapsed(self) -> bool:
        """Say whether a batch is counts of tokens instead of tokens."""

    @abstractmethod
    def tokens(self, cells: Cells) -> Tokens:
        """Turn cells into tokens over the model's genes."""

    @abstractmethod
    def masked_logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Give logits_NT at the places that `where` names.

        The batch holds `tokens` (uint8, B × L), or, collapsed, `counts` (int64, B × T); a place
        is an index into all positions of the batch, B·L, or, collapsed, into its tokens, B·T.
        """

    def masked_source(self, cells: Cells) -> BatchSource:
        """Keep the tokens sparse; masks are drawn when a batch is cut."""
        return ScbertMaskedBatches(self.tokens(cells), collapsed=self.collapsed)

    def masked_objective(self) -> MaskedObjective:
        """Give cross-entropy over the chosen, and what Table 3 measures."""
        return HiddenBins(self.masked_logits)

    def floors(self, train: Cells, cells: Cells, seed: int) -> dict[str, float]:
        """Measure three rules without a network on the hidden positions of `cells`."""
        return heuristics(self.tokens(train), self.tokens(cells), DrawKey(seed=seed, epoch=0))


class ScbertMaskedBatches:
    """Cells from which masked batches are cut."""

    def __init__(self, tokens: Tokens, *, collapsed: bool) -> None:
        self.tokens, self.collapsed = tokens, collapsed

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, rows: NDArray[np.int64], moment: DrawKey) -> Batch:
        """Draw the masks of these cells.

        `cell`, `shown`, `label` and `weight` describe the N chosen: their cell in the batch, the
        token that the network sees, the bin, and how many positions they stand for. `common_B` is
        each cell's most common bin that is not zero.
        """
        cell_N, gene_N, bin_N = self.tokens.stored(rows)
        chosen, shown_N = masks(cell_N, gene_N, bin_N, rows, moment)
        length = self.tokens.length
        counts_BT = histograms(cell_N, bin_N, len(rows), length)
        batch = {"common_B": torch.from_numpy(most_common(counts_BT))}
        picked = cell_N[chosen], shown_N[chosen].astype(np.int64), bin_N[chosen]
        if self.collapsed:
            np.subtract.at(counts_BT, (picked[0], picked[2]), 1)
            np.add.at(counts_BT, picked[:2], 1)
            return batch | {"counts": torch.from_numpy(counts_BT)} | kinds(*picked)
        tokens_BL = np.zeros((len(rows), length), np.uint8)
        flat_N = cell_N * length + gene_N
        tokens_BL.ravel()[flat_N] = shown_N
        arrays = {
            "tokens": tokens_BL,
            "where": flat_N[chosen],
            "cell": picked[0],
            "shown": picked[1],
            "label": picked[2].astype(np.int64),
            "weight": np.ones(len(picked[0]), np.float32),
        }
        return batch | {name: torch.from_numpy(array) for name, array in arrays.items()}


def masks(
    cell_N: NDArray[np.int64],
    gene_N: NDArray[np.int32],
    bin_N: NDArray[np.uint8],
    rows: NDArray[np.int64],
    moment: DrawKey,
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Draw which of the non-zero tokens are chosen, and what is shown of all of them.

    A hash of seed, epoch, row and gene decides: no batch, rank or resumption changes a mask.
    """
    word_B = random_words(seed=moment.seed, epoch=moment.epoch, rows=rows)
    word_N = splitmix64(word_B[cell_N] ^ gene_N.astype(np.uint64))
    chosen = lowest(cell_N, word_N >> np.uint64(64 - DRAW_BITS), len(rows))
    # Bits that did not choose say what hides.
    low = (word_N[chosen] & np.uint64(2**32 - 1)).astype(np.float64)
    shown_N = bin_N.copy()
    shown_N[chosen[low < HIDDEN * 2.0**32]] = MASK
    return chosen, shown_N


def lowest(
    cell_N: NDArray[np.int64], draw_N: NDArray[np.uint64], n_cells: int
) -> NDArray[np.int64]:
    """Find the ceil(15 %) of each cell's tokens with the lowest draws; cells come in order.

    Gives places among the N, in order; of equal draws the first place wins.
    """
    held_B = np.bincount(cell_N, minlength=n_cells)
    wanted_B = np.ceil(SHARE * held_B.astype(np.float32)).astype(np.int64)
    start_B = np.concatenate([[0], np.cumsum(held_B)])
    place_K = np.empty(wanted_B.sum() + 1, np.int64)
    choose_lowest(draw_N, start_B, wanted_B, DRAW_BITS, place_K)
    return place_K[:-1]


def kinds(cell_N: NDArray[np.int64], shown_N: NDArray[np.int64], bin_N: NDArray[np.uint8]) -> Batch:
    """Put chosen positions together that the collapsed network cannot tell apart."""
    place_N = (cell_N * N_TOKENS + shown_N) * N_TOKENS + bin_N
    kind_N, count_N = np.unique(place_N, return_counts=True)
    arrays = {
        "where": kind_N // N_TOKENS,
        "cell": kind_N // N_TOKENS**2,
        "shown": kind_N // N_TOKENS % N_TOKENS,
        "label": kind_N % N_TOKENS,
        "weight": count_N.astype(np.float32),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def most_common(counts_BT: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each cell's most common bin that is not zero, the lowest among equals."""
    return counts_BT[:, 1:].argmax(axis=1) + 1


class HiddenBins:
    """Cross-entropy over the chosen positions; judged as scBERT's log and as Table 3 do."""

    def __init__(self, logits: Logits) -> None:
        self.logits = logits

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Add up the losses of the chosen, and count them."""
        logits_NT = self.logits(network, batch).float()
        loss_N = cross_entropy(logits_NT, batch["label"], reduction="none")
        return (loss_N * batch["weight"]).sum(), batch["weight"].sum()

    def tally(self, network: nn.Module, batch: Batch) -> Sums:
        """Count what is named for what, and how often the most common bin is."""
        logits_NT = self.logits(network, batch).float()
        loss_N = cross_entropy(logits_NT, batch["label"], reduction="none")
        any_N = logits_NT.argmax(dim=1)
        # scBERT's log lets neither zero nor the mask be named.
        bin_N = logits_NT[:, 1 : HIGHEST_BIN + 1].argmax(dim=1) + 1
        names = ("cell", "shown", "label", "weight", "common_B")
        cell_N, shown_N, label_N, weight_N, common_B = (batch[name].cpu().numpy() for name in names)
        weight_N = weight_N.astype(np.float64)
        said_N, binned_N, loss_N64 = (x.cpu().numpy() for x in (any_N, bin_N, loss_N.double()))
        hidden_N = weight_N * (shown_N == MASK)
        n_cells = len(common_B)

        def by_cell(values_N: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(cell_N, values_N, n_cells).astype(np.float64)

        chosen_B, hidden_B = by_cell(weight_N), by_cell(hidden_N)
        common_N = said_N == common_B[cell_N]
        share_B = by_cell(weight_N * (binned_N == label_N)) / np.maximum(chosen_B, 1)
        all_common_B = by_cell(hidden_N * common_N) == hidden_B
        named_BT = np.bincount(cell_N * N_TOKENS + said_N, hidden_N, n_cells * N_TOKENS)
        one_name_B = (named_BT.reshape(n_cells, N_TOKENS) > 0).sum(axis=1) == 1
        confusion_TT = np.bincount(label_N * N_TOKENS + said_N, hidden_N, N_TOKENS**2)
        return {
            "loss": np.array((loss_N64 * weight_N).sum()),
            "chosen": np.array(chosen_B.sum()),
            "confusion": confusion_TT.reshape(N_TOKENS, N_TOKENS),
            "right_by_cell": np.array(share_B.sum()),
            "cells": np.array(float((chosen_B > 0).sum())),
            "common": np.array((hidden_N * common_N).sum()),
            "cells_all_common": np.array(float((all_common_B & (hidden_B > 0)).sum())),
            "cells_one_name": np.array(float(one_name_B.sum())),
            "cells_hiding": np.array(float((hidden_B > 0).sum())),
        }

    def scores(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """Give both accuracies and how far the network names each cell's most common bin."""
        confusion_TT = tally["confusion"]
        hidden = max(float(confusion_TT.sum()), 1.0)
        return {
            "loss": float(tally["loss"]) / max(float(tally["chosen"]), 1.0),
            "accuracy": float(np.trace(confusion_TT)) / hidden,
            "masking_accuracy_per_cell": share(tally["right_by_cell"], tally["cells"]),
            "frac_cells_predict_most_common_bin": share(
                tally["cells_all_common"], tally["cells_hiding"]
            ),
            "frac_cells_one_prediction": share(tally["cells_one_name"], tally["cells_hiding"]),
            "frac_masked_preds_eq_most_common_bin": float(tally["common"]) / hidden,
        }

    def tables(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
        """Lay out the confusion of bins at hidden positions."""
        confusion_TT = tally["confusion"].astype(np.int64)
        names = [*(f"named_{bin}" for bin in range(MASK)), "named_mask"]
        rows = [",".join(["bin", *names])]
        rows += [",".join(map(str, [bin, *confusion_TT[bin]])) for bin in range(1, HIGHEST_BIN + 1)]
        return {"confusion_of_bins.csv": "\n".join(rows) + "\n"}


def share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    """Divide, and give 0 of nothing."""
    return float(part) / max(float(whole), 1.0)


def heuristics(train: Tokens, cells: Tokens, moment: DrawKey) -> dict[str, float]:
    """Judge three rules on the hidden positions of `cells`, as Table 3 judges the network.

    Name the cell's most common bin; the bin that the gene has most often in the training cells;
    the bin that is most common there altogether.
    """
    mode_G, mode = modes(train)
    right, hidden = np.zeros(3), 0
    for start in range(0, len(cells), CELLS_AT_A_TIME):
        rows = np.arange(start, min(start + CELLS_AT_A_TIME, len(cells)))
        cell_N, gene_N, bin_N = cells.stored(rows)
        _, shown_N = masks(cell_N, gene_N, bin_N, rows, moment)
        common_B = most_common(cells.histograms(rows))
        there = shown_N == MASK
        label_N = bin_N[there]
        hidden += len(label_N)
        right += [
            (common_B[cell_N[there]] == label_N).sum(),
            (mode_G[gene_N[there]] == label_N).sum(),
            (mode == label_N).sum(),
        ]
    names = ("most_common_bin", "gene_mode", "corpus_mode")
    return {
        f"heuristic_accuracy_{name}": float(count / max(hidden, 1))
        for name, count in zip(names, right, strict=True)
    }


def modes(tokens: Tokens) -> tuple[NDArray[np.int64], int]:
    """Give each gene's most common bin that is not zero, and that of the whole corpus.

    A gene without any is given the latter.
    """
    n_genes = tokens.length
    counts_GT = np.zeros((n_genes, N_TOKENS), np.int64)
    for start in range(0, len(tokens), CELLS_AT_A_TIME):
        rows = np.arange(start, min(start + CELLS_AT_A_TIME, len(tokens)))
        _, gene_N, bin_N = tokens.stored(rows)
        place_N = gene_N.astype(np.int64) * N_TOKENS + bin_N
        counts_GT += np.bincount(place_N, minlength=n_genes * N_TOKENS).reshape(n_genes, -1)
    counts_GT = counts_GT[:, 1:]
    mode = int(counts_GT.sum(axis=0).argmax()) + 1
    mode_G = counts_GT.argmax(axis=1) + 1
    mode_G[counts_GT.sum(axis=1) == 0] = mode
    return mode_G, mode


def published_layout(state: Mapping[str, Any], epoch: int) -> dict[str, Any]:
    """Put a body's state dict into the file that scBERT's scripts write and read."""
    return {"epoch": epoch, "model_state_dict": dict(state)}
