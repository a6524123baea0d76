"""Masked pretraining of scGPT: hidden values are to be told from those that show.

Of a cell's genes a share hides its value; the value decoder is judged by the squared distance to
the bin. With `generative`, hidden genes are not seen by one another: a token looks at the shown
ones and at itself, as in the original's generative attention.

Legend: C cells, B cells of a batch, G genes that the vocabulary knows, T tokens, N hidden tokens,
V bins.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline.data.cells import Cells
from leadline.models.network import Batch, DrawKey, MaskedObjective, Pretrainable
from leadline.models.scgpt.batches import MASKING, ScgptBatches
from leadline.models.scgpt.tokens import draw_from_each

Sums = dict[str, NDArray[np.float64]]
# (network, batch) → predicted bins of the hidden tokens.
Predict = Callable[[nn.Module, Batch], Tensor]
CELLS_AT_A_TIME = 4096
# The level of the mask: the first.
MASK_LEVEL = 0
# No other comes behind it when tokens are drawn.
LAST_WORD = np.uint64(2**64 - 1)


class MaskedValues(Pretrainable):
    """A model that learns to tell hidden bins."""

    @property
    @abstractmethod
    def masking(self) -> tuple[float, bool, int]:
        """Give the share of hidden values, whether hidden ones see one another, and the bins."""

    @abstractmethod
    def encode(self, cells: Cells) -> ScgptBatches:
        """Bin the values of known genes."""

    @abstractmethod
    def hidden_values(self, network: nn.Module, batch: Batch) -> Tensor:
        """Predict the bins at `hidden`, tokens of the batch."""

    def masked_source(self, cells: Cells) -> ScgptMaskedBatches:
        """Encode cells; masks are drawn when a batch is cut."""
        share, generative, _ = self.masking
        return ScgptMaskedBatches(self.encode(cells), share, generative)

    def masked_objective(self) -> MaskedObjective:
        """Give the squared distance to the hidden bins."""
        return HiddenValues(self.hidden_values, self.masking[2])

    def reconstruction_scores(
        self, network: nn.Module, cells: Cells, fold_C: NDArray[np.int64], seed: int
    ) -> dict[str, float]:
        """Give errors of shown and of hidden bins, of the decoder and of floors.

        Weights without a decoder tell no bins: empty.
        """
        audit = getattr(self, "audit", None)
        if audit is None or any(name.startswith("decoder.") for name in audit.missing):
            return {}
        from leadline.models.scgpt.reconstruction import reconstructions
        from leadline.stats.reconstruction import (
            REFERENCE_FLOOR,
            reconstruction_errors,
            reconstruction_score,
        )

        device = next(network.parameters()).device
        shown, *hidden = (
            reconstruction_errors(each.bins_CG, each.predicted_CG, fold_C, each.asked_CG)
            for each in reconstructions(self, network, self.encode(cells), seed, device)
        )
        masked = {name: float(np.mean([each[name] for each in hidden])) for name in hidden[0]}
        masked["score"] = reconstruction_score(masked["mse"], masked[f"floor_{REFERENCE_FLOOR}"])
        return {f"unmasked_{name}": value for name, value in shown.items()} | {
            f"masked_{name}": value for name, value in masked.items()
        }

    def floors(self, train: Cells, cells: Cells, seed: int) -> dict[str, float]:
        """Judge two means without a network: the gene's in `train`, and the cell's shown values."""
        return floors(self.masked_source(train), self.masked_source(cells), seed)


class ScgptMaskedBatches:
    """Cells from which masked batches are cut."""

    def __init__(self, source: ScgptBatches, share: float, generative: bool) -> None:
        self.source, self.share, self.generative = source, share, generative
        self.lengths_C = source.lengths_C

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: NDArray[np.int64], moment: DrawKey) -> Batch:
        """Draw the masks of these cells: `hidden` holds places of tokens, `bins` what they hide."""
        length_B, gene_T, bin_T, hidden_T = self.masked(rows, moment)
        batch = self.source.finish(rows, length_B, gene_T, bin_T)
        batch.pop("labels", None)
        hidden_N = torch.from_numpy(np.flatnonzero(hidden_T))
        batch["hidden"] = hidden_N
        batch["bins"] = torch.from_numpy(bin_T[hidden_T].astype(np.float32))
        batch["level"][hidden_N] = MASK_LEVEL
        if self.generative:
            visible_T = torch.ones(len(batch["level"]), dtype=torch.bool)
            visible_T[hidden_N] = False
            batch["visible"] = visible_T
        return batch

    def masked(
        self, rows: NDArray[np.int64], moment: DrawKey
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], NDArray[np.bool_]]:
        """Give tokens, and which of them hide their value; `<cls>` has none to hide.

        At least one does, and where there are two at least one shows.
        """
        length_B, gene_T, bin_T = self.source.tokens(rows, moment)
        genes_B = length_B - 1
        hidden_B = np.clip((genes_B * self.share).astype(np.int64), 1, np.maximum(genes_B - 1, 1))
        word_T = self.source.words(rows, length_B, moment.seed, MASKING, moment.epoch)
        word_T[np.cumsum(length_B) - length_B] = LAST_WORD
        hidden_T = draw_from_each(length_B, np.minimum(hidden_B, genes_B), word_T)
        return length_B, gene_T, bin_T, hidden_T


class HiddenValues:
    """Mean squared distance to the hidden bins, each hidden token counting the same."""

    def __init__(self, predict: Predict, bins: int) -> None:
        self.predict, self.bins = predict, bins

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Give the sum of squared distances, and the number of hidden tokens."""
        off_N = self.predict(network, batch).float() - batch["bins"]
        return off_N.square().sum(), float(len(off_N))

    def tally(self, network: nn.Module, batch: Batch) -> Sums:
        """Add up distances, by the bin that is hidden."""
        predicted_N = self.predict(network, batch).double().cpu().numpy()
        hidden_N = batch["bins"].cpu().numpy().astype(np.int64)
        off_N = predicted_N - hidden_N

        def by_bin(weight_N: NDArray[Any]) -> NDArray[np.float64]:
            return np.bincount(hidden_N, weight_N, self.bins).astype(np.float64)

        return {
            "hidden": by_bin(np.ones(len(off_N))),
            "predicted": by_bin(predicted_N),
            "squares": by_bin(off_N**2),
            "distances": by_bin(np.abs(off_N)),
            "right": by_bin(np.rint(predicted_N) == hidden_N),
        }

    def scores(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """Give the mean squared and absolute distance, and how often the bin is met exactly."""
        hidden = max(float(tally["hidden"].sum()), 1.0)
        return {
            "loss": float(tally["squares"].sum()) / hidden,
            "accuracy": float(tally["right"].sum()) / hidden,
            "masked_distance": float(tally["distances"].sum()) / hidden,
        }

    def tables(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
        """Lay out what is said of each bin."""
        rows = ["bin,hidden,mean_predicted,mean_squared_distance"]
        for bin, hidden in enumerate(tally["hidden"]):
            if hidden:
                mean, square = tally["predicted"][bin] / hidden, tally["squares"][bin] / hidden
                rows.append(f"{bin},{int(hidden)},{mean:.4f},{square:.4f}")
        return {"hidden_bins.csv": "\n".join(rows) + "\n"}


def floors(train: ScgptMaskedBatches, cells: ScgptMaskedBatches, seed: int) -> dict[str, float]:
    """Give the mean squared distance of three rules that need no network.

    Name the gene's mean bin in the training cells; the mean of what shows of the cell; the mean of
    all training cells.
    """
    moment = DrawKey(seed=seed, epoch=0)
    mean_of, mean = gene_means(train, moment)
    squares, hidden = np.zeros(3), 0
    for rows in chunks(len(cells)):
        length_B, gene_T, bin_T, hidden_T = cells.masked(rows, moment)
        cell_T = np.repeat(np.arange(len(rows)), length_B)
        # All but `<cls>` and what is hidden.
        shown_T = ~hidden_T & (gene_T < cells.source.cls_gene)
        shown_B = np.bincount(cell_T[shown_T], minlength=len(rows))
        sum_B = np.bincount(cell_T[shown_T], bin_T[shown_T], minlength=len(rows))
        of_cell_B = np.divide(sum_B, shown_B, out=np.full(len(rows), mean), where=shown_B > 0)
        bin_N, ids_N = bin_T[hidden_T].astype(np.float64), cells.source.id_G[gene_T[hidden_T]]
        of_gene_N = np.array([mean_of.get(number, mean) for number in ids_N.tolist()])
        rules = (of_gene_N, of_cell_B[cell_T[hidden_T]], np.full(len(bin_N), mean))
        squares += [np.square(rule_N - bin_N).sum() for rule_N in rules]
        hidden += len(bin_N)
    names = ("gene_mean", "cell_mean", "corpus_mean")
    return {
        f"heuristic_loss_{name}": float(square / max(hidden, 1))
        for name, square in zip(names, squares, strict=True)
    }


def gene_means(train: ScgptMaskedBatches, moment: DrawKey) -> tuple[dict[int, float], float]:
    """Give the mean bin of each gene by its number in the vocabulary, and that of all tokens."""
    n_genes = train.source.cls_gene
    sum_G, count_G = np.zeros(n_genes), np.zeros(n_genes)
    for rows in chunks(len(train)):
        _, gene_T, bin_T = train.source.tokens(rows, moment)
        gene_T, bin_T = gene_T[gene_T < n_genes], bin_T[gene_T < n_genes]
        sum_G += np.bincount(gene_T, bin_T, n_genes)
        count_G += np.bincount(gene_T, minlength=n_genes)
    there_G = count_G > 0
    means = sum_G[there_G] / count_G[there_G]
    mean = float(sum_G.sum() / max(count_G.sum(), 1))
    return dict(zip(train.source.id_G[:-1][there_G].tolist(), means.tolist(), strict=True)), mean


def chunks(n_cells: int) -> list[NDArray[np.int64]]:
    """Cut rows into pieces."""
    return [
        np.arange(start, min(start + CELLS_AT_A_TIME, n_cells))
        for start in range(0, n_cells, CELLS_AT_A_TIME)
    ]
