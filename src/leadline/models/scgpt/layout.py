"""Packed cells: one token after another, no padding; and dropout that knows each one's place.

Legend: B cells, T tokens of all cells, E width, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from leadline.models.dropout import CellDropout, keep, scramble


@dataclass(frozen=True, slots=True)
class Layout:
    """Which rows belong to which cell.

    Attributes
    ----------
    lengths
        Rows of each cell.
    keys
        How many of them, from the first, may be looked at; the rest is padding.
    visible_T
        Tokens that others may look at; the others see them and themselves. None: all of them.
    """

    lengths: tuple[int, ...]
    device: torch.device
    keys: tuple[int, ...] = ()
    visible_T: Tensor | None = None
    cell_T: Tensor = field(init=False)
    place_T: Tensor = field(init=False)
    offset_B: Tensor = field(init=False)

    def __post_init__(self) -> None:
        length_B = torch.tensor(self.lengths, dtype=torch.int64)
        end_B = length_B.cumsum(0)
        cell_T = torch.repeat_interleave(torch.arange(len(length_B)), length_B)
        place_T = torch.arange(len(cell_T)) - (end_B - length_B)[cell_T]
        offset_B = torch.cat([torch.zeros(1, dtype=torch.int64), end_B])
        for name, value in (("cell_T", cell_T), ("place_T", place_T), ("offset_B", offset_B)):
            object.__setattr__(self, name, value.to(self.device))
        if not self.keys:
            object.__setattr__(self, "keys", self.lengths)

    @property
    def padded(self) -> bool:
        """Say whether some rows are padding."""
        return self.keys != self.lengths

    def first(self) -> Layout:
        """Give the layout of the first rows alone."""
        return Layout((1,) * len(self.lengths), self.device)


class PackedDropout(CellDropout):
    """Dropout of packed tokens; a draw follows from the cell, the place in it and the element."""

    def forward(self, x_TE: Tensor, layout: Layout | None = None) -> Tensor:
        """Drop elements of each token."""
        if not self.training or self.share == 0:
            return x_TE
        assert layout is not None
        key_2T = keys_of_rows(self.keys()[:, layout.cell_T], layout.place_T)
        kept_TE = keep(key_2T, x_TE.shape[1], self.share)
        return x_TE * kept_TE.to(x_TE.dtype).div_(1 - self.share)

    def keys(self) -> Tensor:
        """Give the keys of the cells that the trainer aimed at."""
        if self.key_2B is None:
            raise RuntimeError("dropout in training mode needs aim() before each batch")
        return self.key_2B

    @property
    def share_now(self) -> float:
        """Give the share that is dropped, which is none outside training."""
        return self.share if self.training else 0.0


def keys_of_rows(key_2R: Tensor, row_R: Tensor) -> Tensor:
    """Derive from a cell's keys those of one of its rows."""
    word_R = scramble(row_R.to(torch.int32) * -1640531527 + key_2R[0], 16, -2048144789)
    return torch.stack([word_R, scramble(word_R ^ key_2R[1], 13, -1028477387)])
