"""Which cells stand in which step: a matter of seed and epoch, never of devices or memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def order_of(n_cells: int, *, seed: int, epoch: int, shuffled: bool) -> NDArray[np.int64]:
    """Give the order of the cells in one epoch."""
    if not shuffled:
        return np.arange(n_cells)
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    return stream.permutation(n_cells)


def steps_of(n_cells: int, batch_size: int) -> int:
    """Count the global batches of an epoch; the last one may be smaller."""
    return -(-n_cells // batch_size)


def batch_of(order_C: NDArray[np.int64], step: int, batch_size: int) -> NDArray[np.int64]:
    """Give the cells of one global batch; steps count from 0."""
    return order_C[step * batch_size : (step + 1) * batch_size]
