"""scBERT's fine-tuning head, with the names of the published state dicts.

Legend: B cells of a micro-batch, N positions that are not silent, G positions, T distinct tokens,
D width, K classes, F features of the first layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from leadline.models.scbert import histogram


class Head(nn.Module):
    """The fine-tuning head: one number for each token, then three layers over all positions."""

    def __init__(self, positions: int, width: int, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        first, second = hidden
        self.conv1 = nn.Conv2d(1, 1, (1, width))
        self.fc1 = nn.Linear(positions, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, classes)
        self.columns: histogram.Columns | None = None

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; the weights may change, or have changed."""
        self.columns = None
        return super().train(mode)

    def numbers(self, x_BND: Tensor) -> Tensor:
        """Give the one number of each token."""
        weight_D = self.conv1.weight.flatten()
        return linear(x_BND, weight_D[None], self.conv1.bias).squeeze(-1).relu()

    def forward(self, x_BND: Tensor) -> Tensor:
        """Give logits_BK from all encodings."""
        return self.rest(self.fc1(self.numbers(x_BND)))

    def of_distinct(self, x_BTD: Tensor, cell_N: Tensor, gene_N: Tensor, token_N: Tensor) -> Tensor:
        """Give logits_BK from the encodings of distinct tokens and where the non-zero ones are.

        A step reads all weights and writes all gradients anyway. Without gradients it is far
        faster to add up the genes that are not silent, from weights laid out by gene.
        """
        numbers_BT, places = self.numbers(x_BTD), (cell_N, gene_N, token_N)
        weight_FG = self.fc1.weight
        if self.training or torch.is_grad_enabled():
            numbers_BG = histogram.spread(numbers_BT, weight_FG.shape[1], *places)
            return self.rest(self.fc1(numbers_BG))
        if self.columns is None or self.columns.of != histogram.Columns.mark(weight_FG):
            self.columns = histogram.Columns(weight_FG)
        first_BF = histogram.by_differences(numbers_BT, self.columns, *places)
        return self.rest(first_BF + self.fc1.bias)

    def rest(self, first_BF: Tensor) -> Tensor:
        """Go through the layers after the first."""
        return self.fc3(self.fc2(first_BF.relu()).relu())
