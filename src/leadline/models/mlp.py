"""A small network on log-normalised expression.

A baseline that users ask for: is it the transformer, or any network?

Legend: C cells, B cells of a micro-batch, G genes, K classes, H classes that can be named.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from leadline.config import MlpConfig
from leadline.data.cells import Cells
from leadline.models.base import EXPRESSION, expression
from leadline.models.dropout import CellDropout
from leadline.models.network import Batch, DrawKey, TorchModel, as_tensor, require_freeze

# Beyond this many deviations a value says no more; a rare gene would otherwise shout.
FARTHEST = 10.0


class Mlp(TorchModel):
    """Linear layers with ReLU and dropout over scaled genes."""

    accepts = EXPRESSION

    def __init__(self, config: MlpConfig, *, freeze: str = "none") -> None:
        require_freeze(freeze, ("none",), config.name)
        self.config = config

    def build(self, train: Cells) -> nn.Module:
        """Make a network whose scaling comes from the training cells alone."""
        assert train.labels_C is not None
        centre_G, factor_G = scaling(expression(train, self.config.input), self.config.scaling)
        present_H = as_tensor(np.flatnonzero(self.nameable(train)))
        return HiddenLayers(self.config, centre_G, factor_G, present_H, len(train.classes))

    def encode(self, cells: Cells) -> Expression:
        """Keep the matrix sparse; batches are made dense."""
        return Expression(expression(cells, self.config.input), cells.labels_C)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Run the network."""
        logits_BK: Tensor = network(batch["genes"])
        return logits_BK

    def multiplications(self, network: nn.Module) -> int:
        """Count one for each weight."""
        return sum(parameter.numel() for parameter in network.parameters())

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """Give the hidden layers."""
        hidden = network.hidden
        assert isinstance(hidden, nn.Sequential)
        return list(hidden)


class HiddenLayers(nn.Module):
    """The network itself."""

    centre_G: Tensor
    factor_G: Tensor
    present_H: Tensor

    def __init__(
        self,
        config: MlpConfig,
        centre_G: NDArray[np.float32],
        factor_G: NDArray[np.float32],
        present_H: Tensor,
        n_classes: int,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.register_buffer("centre_G", torch.from_numpy(centre_G))
        self.register_buffer("factor_G", torch.from_numpy(factor_G))
        self.register_buffer("present_H", present_H)
        widths = [len(centre_G), *config.hidden]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, after), nn.ReLU(), CellDropout(config.dropout))
                for before, after in pairwise(widths)
            )
        )
        self.head = nn.Linear(widths[-1], len(present_H))

    def forward(self, expression_BG: Tensor) -> Tensor:
        """Give logits over all classes; those without training cells cannot be named."""
        scaled_BG = (expression_BG - self.centre_G) * self.factor_G
        logits_BH = self.head(self.hidden(scaled_BG.clamp(-FARTHEST, FARTHEST)))
        if logits_BH.shape[1] == self.n_classes:
            return logits_BH
        whole_BK = logits_BH.new_full((len(logits_BH), self.n_classes), -torch.inf)
        return whole_BK.index_copy(1, self.present_H, logits_BH)


class Expression:
    """Cells as rows of a sparse matrix."""

    def __init__(self, matrix_CG: sparse.csr_array, labels_C: NDArray[np.int32] | None) -> None:
        self.matrix_CG, self.labels_C = matrix_CG, labels_C

    def __len__(self) -> int:
        return int(self.matrix_CG.shape[0])

    def batch(self, rows: NDArray[np.int64], moment: DrawKey) -> Batch:
        """Make these rows dense."""
        batch = {"genes": torch.from_numpy(self.matrix_CG[rows].toarray())}
        if self.labels_C is not None:
            batch["labels"] = as_tensor(self.labels_C[rows])
        return batch


def scaling(
    matrix_CG: sparse.csr_array, rule: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the centre and the factor of each gene; a gene that never varies gets factor 0."""
    n_cells, n_genes = matrix_CG.shape
    if rule == "none":
        return np.zeros(n_genes, np.float32), np.ones(n_genes, np.float32)
    genes, values = matrix_CG.indices, matrix_CG.data.astype(np.float64)
    mean_G = np.bincount(genes, values, n_genes) / n_cells
    square_G = np.bincount(genes, values**2, n_genes) / n_cells
    deviation_G = np.sqrt(np.maximum(square_G - mean_G**2, 0))
    varies = deviation_G > 1e-6 * np.maximum(mean_G, 1e-6)
    factor_G = np.divide(1.0, deviation_G, out=np.zeros(n_genes), where=varies)
    return mean_G.astype(np.float32), factor_G.astype(np.float32)
