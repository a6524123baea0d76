"""Dropout that is drawn for each cell: the same whatever cells it is batched with, and where.

torch draws a mask from the state of a generator, so that it changes with micro-batches, ranks and
resumption. Here a mask is a hash of (seed, epoch, cell, layer, element): no state, nothing to
keep, and the same on every device.

Legend: B cells of a micro-batch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class CellDropout(nn.Module):
    """Drops a share of the elements of each cell; `set_cells` says which cells come next.

    The first dimension of the input is the cell. An element is known by its place among the
    elements of its cell: padding must come last, after all that is shared between batches.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.key_2B: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop, and scale what stays so that sums keep their expectation."""
        if not self.training or self.share == 0:
            return x
        if self.key_2B is None:
            raise RuntimeError("CellDropout in training mode needs aim() before each batch")
        kept = keep(self.key_2B, x[0].numel(), self.share).view(x.shape)
        return x * kept.to(x.dtype).div_(1 - self.share)

    def extra_repr(self) -> str:
        """Show the share that is dropped."""
        return f"share={self.share}"


def set_cells(network: nn.Module, *, seed: int, epoch: int, rows: NDArray[np.int64]) -> None:
    """Set the seed, epoch and cells that the next dropout masks of a network are drawn from."""
    layers = [module for module in network.modules() if isinstance(module, CellDropout)]
    if not layers:
        return
    cell_B = random_words(seed=seed, epoch=epoch, rows=rows)
    for index, layer in enumerate(layers):
        word_B = splitmix64(cell_B ^ splitmix64(np.uint64(index + 1)))
        key_2B = np.stack([word_B & np.uint64(0xFFFFFFFF), word_B >> np.uint64(32)])
        layer.key_2B = torch.from_numpy(key_2B.astype(np.uint32).view(np.int32)).to(
            device_of(layer, network), non_blocking=True
        )


def random_words(*, seed: int, epoch: int, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Give each cell 64 random bits of its own; masks of a pretraining task start here too."""
    return splitmix64(
        splitmix64(splitmix64(np.uint64(seed)) ^ np.uint64(epoch)) ^ rows.astype(np.uint64)
    )


def device_of(layer: nn.Module, network: nn.Module) -> torch.device:
    """Find where a network lives."""
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def splitmix64(word: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Scramble 64 bits (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        z = np.asarray(word, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def keep(key_2B: Tensor, elements: int, share: float) -> Tensor:
    """Draw which elements of each cell stay, as booleans of shape (B, elements).

    32-bit integers wrap around alike on every device, so the draw does too.
    """
    counter = torch.arange(elements, dtype=torch.int32, device=key_2B.device)
    # Odd constants of murmur3's finaliser and of the golden ratio, as signed 32-bit numbers.
    word = (counter * -1640531527)[None, :] + key_2B[0][:, None]
    word = scramble(word, 16, -2048144789)
    # The second key keeps two cells from walking through one and the same sequence.
    word ^= key_2B[1][:, None]
    word = scramble(word, 13, -1028477387)
    word ^= (word >> 16) & 0xFFFF
    return word >= round(share * 2**32) - 2**31


def scramble(word: Tensor, shift: int, factor: int) -> Tensor:
    """Shift, combine and multiply in place."""
    word ^= (word >> shift) & ((1 << (32 - shift)) - 1)
    word *= factor
    return word
