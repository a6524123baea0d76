"""Cells as scBERT takes them: batches cut from sparse tokens.

Legend: B cells of a micro-batch, L positions, N tokens that are not zero, T kinds of tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from leadline.models.network import Batch, Moment, as_tensor
from leadline.models.scbert.tokens import Tokens


class TokenSource:
    """Cells as sparse tokens, from which batches are cut."""

    def __init__(
        self, tokens: Tokens, labels_C: NDArray[np.int32] | None, *, collapsed: bool
    ) -> None:
        self.tokens, self.labels_C, self.collapsed = tokens, labels_C, collapsed

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, rows: NDArray[np.int64], moment: Moment) -> Batch:
        """Give uint8 tokens, or counts of them and where those other than zero stand."""
        if self.collapsed:
            cell_N, gene_N, token_N = self.tokens.stored(rows)
            batch = {
                "counts": torch.from_numpy(self.tokens.histograms(rows)),
                "cell": torch.from_numpy(cell_N),
                "gene": torch.from_numpy(gene_N.astype(np.int64)),
                "token": torch.from_numpy(token_N.astype(np.int64)),
            }
        else:
            batch = {"tokens": torch.from_numpy(self.tokens.dense(rows))}
        if self.labels_C is not None:
            batch["labels"] = as_tensor(self.labels_C[rows])
        return batch
