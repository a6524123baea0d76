"""What is minimised, as sums: micro-batches and ranks only ever add.

Legend: B cells of a micro-batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leadline.models.network import Batch, TorchModel
from leadline.stats import metrics

Tally = dict[str, NDArray[np.float64]]
# As for the stored probabilities: no cell of the selection set may cost more than this.
LARGEST_LOSS = -float(np.log(metrics.SMALLEST))


class Objective(Protocol):
    """What a fit minimises and how it is judged; classification here, masked genes elsewhere."""

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Give the sum of weighted losses over cells or positions, and the sum of the weights."""

    def tally(self, network: nn.Module, batch: Batch) -> Tally:
        """Measure a batch by sums that may be added up over batches; no gradients."""

    def scores(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """Turn the sums over all cells into scores; `loss` is among them."""


class Classification:
    """Weighted cross-entropy; judged by unweighted loss, accuracy and macro-F1."""

    def __init__(self, model: TorchModel, weight_K: NDArray[np.float64], *, labels: str) -> None:
        self.model, self.labels = model, labels
        self.weight_K = torch.from_numpy(weight_K.astype(np.float32))
        self.alike = bool((weight_K == 1).all())

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Give the sum of the weighted losses of cells, and of their weights."""
        logits_BK = self.model.logits(network, batch).float()
        if self.alike:
            loss = cross_entropy(logits_BK, batch["labels"], reduction="sum")
            return loss, float(len(logits_BK))
        if self.weight_K.device != logits_BK.device:
            self.weight_K = self.weight_K.to(logits_BK.device)
        loss = cross_entropy(logits_BK, batch["labels"], self.weight_K, reduction="sum")
        return loss, self.weight_K[batch["labels"]].sum()

    def tally(self, network: nn.Module, batch: Batch) -> Tally:
        """Count the confusion of classes and add up the losses."""
        logits_BK = self.model.logits(network, batch).float()
        loss_B = cross_entropy(logits_BK, batch["labels"], reduction="none")
        truth_B, said_B = (x.cpu().numpy() for x in (batch["labels"], logits_BK.argmax(dim=1)))
        confusion_KK = metrics.confusion_matrix(truth_B, said_B, logits_BK.shape[1])
        return {
            "loss": np.array(loss_B.clamp(max=LARGEST_LOSS).double().sum().item()),
            "confusion": confusion_KK.astype(np.float64),
        }

    def scores(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """Give loss, accuracy, macro-F1, and how many classes are named at all."""
        confusion_KK = tally["confusion"].astype(np.int64)
        averaged = metrics.averaged_classes(confusion_KK, self.labels)
        n_cells = int(confusion_KK.sum())
        return {
            "loss": float(tally["loss"]) / n_cells,
            "accuracy": float(np.trace(confusion_KK) / n_cells),
            "macro_f1": float(metrics.precision_recall_f1(confusion_KK)[2, averaged].mean()),
            "classes_named": int((confusion_KK.sum(axis=0) > 0).sum()),
        }


def class_weights(cells_K: NDArray[Any] | None, n_classes: int) -> NDArray[np.float64]:
    """Weigh classes by one over their number of cells, 1 on average over the counted cells.

    `None` weighs all cells alike. Only ratios matter: a batch's loss is divided by its weight.
    """
    if cells_K is None:
        return np.ones(n_classes)
    there = cells_K > 0
    share = cells_K.sum() / max(int(there.sum()), 1)
    return np.divide(share, cells_K, out=np.zeros(n_classes), where=there)
