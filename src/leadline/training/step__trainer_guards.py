"""Numbers that go wrong: said with the cells that were in hand, before they spoil a record."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A loss this many times the lowest epoch's is said to have exploded.
EXPLODED = 3.0
CELLS_SHOWN = 32


class NumbersWrong(Exception):
    """Loss or gradients are no longer numbers."""


def check_finite(
    loss: float, norm: float, *, epoch: int, step: int, ids: NDArray[np.str_], last_good: int
) -> None:
    """Stop at a loss or a gradient that is not finite.

    `epoch` counts from 1, `step` from 0; `last_good` is 0 before the first epoch is over.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {norm}"
    shown = ", ".join(map(str, ids[:CELLS_SHOWN]))
    more = f" and {len(ids) - CELLS_SHOWN} more" if len(ids) > CELLS_SHOWN else ""
    good = f"epoch {last_good}" if last_good else "none"
    raise NumbersWrong(
        f"{what} in epoch {epoch}, step {step + 1}; last good epoch: {good}; lower train.lr, set "
        f"train.clip, or look at the cells of this batch: {shown}{more}"
    )


def exploded(losses: Sequence[float]) -> str | None:
    """Warn where the last epoch's loss stands far above the lowest one before it."""
    if len(losses) < 2 or losses[-1] <= EXPLODED * min(losses[:-1]):
        return None
    return (
        f"the training loss exploded in epoch {len(losses)}: {losses[-1]:.4g} after "
        f"{min(losses[:-1]):.4g}"
    )


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a smaller micro-batch might fit."""
    import torch

    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
