"""What the trainer needs of a torch model; `docs/trainer.md` shows how one plugs in.

Legend: B cells of a micro-batch, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline.cells import Cells, Scale

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a batch is drawn: whatever a model draws for a cell follows from this and its row.

    Epochs count from 1; 0 is outside training.
    """

    seed: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a network's first weights come from.

    `identity` enters the run's name: the id of the run that made them, or the digest of a file.
    """

    path: Path
    identity: str


class Source(Protocol):
    """The cells of one part, encoded once, from which batches are cut."""

    def __len__(self) -> int:
        """Count the cells."""

    def batch(self, rows: NDArray[np.int64], moment: Moment) -> Batch:
        """Cut these cells out, on the CPU; `labels` is among the tensors where cells have them."""


class TorchModel(ABC):
    """A network, how cells become its input, and what it says of them."""

    accepts: frozenset[Scale]

    @abstractmethod
    def build(self, train: Cells) -> nn.Module:
        """Make the network, with what must be learnt from the training cells beforehand.

        torch's generator is seeded by the caller; what is learnt belongs into buffers.
        """

    @abstractmethod
    def encode(self, cells: Cells) -> Source:
        """Turn cells into input; called after `build`, labelled or not."""

    @abstractmethod
    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Give logits_BK over `cells.classes`; -inf for a class that cannot be named."""

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """Name the parts whose activations may be computed again instead of kept."""
        return ()

    def multiplications(self, network: nn.Module) -> int | None:
        """Estimate those of one cell's forward pass, if they may be few; None: they are many."""
        return None

    def caveats(self) -> Sequence[str]:
        """Say why the result depends on how cells are batched, if it does."""
        return ()

    def facts(self, network: nn.Module) -> Mapping[str, Any]:
        """Give what the record says of this model beside what the trainer knows; after `build`."""
        return {}

    def before_step(self, network: nn.Module, step: int) -> None:
        """Change buffers before an optimiser step, counted from 1, and alike on all ranks."""
        return


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """List what the optimiser may change."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def as_tensor(rows: NDArray[np.integer]) -> Tensor:
    """Give indices as an int64 tensor."""
    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
