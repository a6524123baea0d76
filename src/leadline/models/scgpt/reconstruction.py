"""How scGPT's value decoder tells bins, shown and hidden: predictions beside what they should be.

As published nothing is hidden, so that bins are copied rather than told; masks ask the question.

Legend: C cells, G genes that the vocabulary knows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from leadline.models.network import DrawKey
from leadline.models.scgpt.batches import ScgptBatches
from leadline.models.scgpt.pretraining import MaskedValues, ScgptMaskedBatches
from leadline.stats.reconstruction import MASKED_DRAWS, MASKED_SHARE

CELLS_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Bins of cells by gene, what was predicted, and where; a position without a token is 0.

    `asked_CG` marks the positions that were predicted: all tokens, or those that were hidden.
    """

    bins_CG: NDArray[np.float64]
    predicted_CG: NDArray[np.float64]
    asked_CG: NDArray[np.bool_]


def reconstructions(
    model: MaskedValues, network: nn.Module, source: ScgptBatches, seed: int, device: torch.device
) -> Iterator[Reconstruction]:
    """Predict bins with nothing hidden, then under each of five masks."""
    network.eval()
    yield predicted(model, network, source, None, DrawKey(seed=seed, epoch=0), device)
    masked = ScgptMaskedBatches(source, MASKED_SHARE, model.masking[1])
    for draw in range(1, MASKED_DRAWS + 1):
        yield predicted(model, network, source, masked, DrawKey(seed=seed, epoch=draw), device)


@torch.inference_mode()
def predicted(
    model: MaskedValues,
    network: nn.Module,
    source: ScgptBatches,
    masked: ScgptMaskedBatches | None,
    moment: DrawKey,
    device: torch.device,
) -> Reconstruction:
    """Predict the hidden positions of all cells, or all positions where nothing is hidden."""
    shape = (len(source), source.cls_gene)
    found = Reconstruction(np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool))
    for start in range(0, len(source), CELLS_AT_A_TIME):
        rows = np.arange(start, min(start + CELLS_AT_A_TIME, len(source)))
        length_B, gene_T, bin_T = source.tokens(rows, moment)
        told_T = gene_T < source.cls_gene
        if masked is None:
            asked_T = told_T
            batch = source.finish(rows, length_B, gene_T, bin_T)
            batch["hidden"] = torch.from_numpy(np.flatnonzero(asked_T))
        else:
            length_B, gene_T, bin_T, asked_T = masked.masked(rows, moment)
            batch = masked.batch(rows, moment)
        batch = {name: value.to(device) for name, value in batch.items()}
        value_N = model.hidden_values(network, batch).double().cpu().numpy()
        cell_T = np.repeat(rows, length_B)
        found.bins_CG[cell_T[told_T], gene_T[told_T]] = bin_T[told_T]
        found.predicted_CG[cell_T[asked_T], gene_T[asked_T]] = value_N
        found.asked_CG[cell_T[asked_T], gene_T[asked_T]] = True
    return found
