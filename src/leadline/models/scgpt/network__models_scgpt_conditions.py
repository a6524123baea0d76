"""The two ways in which scGPT can be told which batch a cell is from; both are off by default.

Legend: B cells, T tokens of all cells, E width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline import distributed

# That of the original's batch norm, which is not torch's default.
NORM_EPS = 6.1e-5


class BatchEncoder(nn.Module):
    """Which batch a cell is from; only the value decoder reads it, as in the original."""

    def __init__(self, batches: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(batches, width)
        self.enc_norm = nn.LayerNorm(width)

    def forward(self, batch_B: Tensor) -> Tensor:
        """Embed batches."""
        found_BE: Tensor = self.enc_norm(self.embedding(batch_B))
        return found_BE


class DomainNorm(nn.Module):
    """Batch norm of each batch of cells on its own, over tokens."""

    def __init__(self, batches: int, width: int) -> None:
        super().__init__()
        self.bns = nn.ModuleList(nn.BatchNorm1d(width, eps=NORM_EPS) for _ in range(batches))

    def forward(self, x_TE: Tensor, batch_T: Tensor) -> Tensor:
        """Normalise each token by its batch."""
        out_TE = torch.zeros_like(x_TE)
        for index in batch_T.unique().tolist():
            rows = (batch_T == index).nonzero().squeeze(1)
            out_TE = out_TE.index_copy(0, rows, self.bns[index](x_TE[rows]).to(x_TE.dtype))
        return out_TE

    def train(self, mode: bool = True) -> DomainNorm:
        """When judging begins, let all ranks go by what the first one has seen."""
        if self.training and not mode:
            distributed.same_everywhere(list(self.buffers()))
        super().train(mode)
        return self
