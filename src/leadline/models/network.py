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

from leadline.data.cells import Cells, Scale
from leadline.errors import UserError, nearest

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawKey:
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


class BatchSource(Protocol):
    """The cells of one part, encoded once, from which batches are cut.

    One with an array `lengths_C` is predicted in the order of these lengths.
    """

    def __len__(self) -> int:
        """Count the cells."""

    def batch(self, rows: NDArray[np.int64], moment: DrawKey) -> Batch:
        """Cut these cells out, on the CPU; `labels` is among the tensors where cells have them."""


class TorchModel(ABC):
    """A network, how cells become its input, and what it says of them."""

    accepts: frozenset[Scale]
    # Where tokens of large data may be kept for other processes; None: nowhere.
    cache: Path | None = None
    # Whether classes without training cells can be named, as in the paper's code.
    names_all_classes: bool = False

    def nameable(self, train: Cells) -> NDArray[np.bool_]:
        """Mark the classes of `train.classes` that can be named."""
        assert train.labels_C is not None
        names_K = np.arange(len(train.classes))
        return np.isin(names_K, train.labels_C) | self.names_all_classes

    @abstractmethod
    def build(self, train: Cells) -> nn.Module:
        """Make the network, with what must be learnt from the training cells beforehand.

        torch's generator is seeded by the caller; what is learnt belongs into buffers.
        """

    @abstractmethod
    def encode(self, cells: Cells) -> BatchSource:
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

    def warnings(self, network: nn.Module) -> Sequence[str]:
        """Say what the fit had to do without, if anything."""
        return ()

    def facts(self, network: nn.Module) -> Mapping[str, Any]:
        """Give what the record says of this model beside what the trainer knows; after `build`."""
        return {}

    def embeddings(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Give what `train.save_embeddings` keeps; a model without this method has none.

        `cells`: one vector for each cell. `positions`, if the model has them: for each position
        of `position_names`, the sum of its vectors over these cells.
        """
        raise NotImplementedError

    def position_names(self) -> Sequence[str]:
        """Name the positions of `embeddings`."""
        return ()

    def gene_vectors(self, network: nn.Module, cells: Cells) -> Tensor:
        """Give the input vector of each gene of these cells, 0 for a gene that it does not know.

        What `task_settings.vectors=bag_of_genes` averages; a model without this method has none.
        """
        raise NotImplementedError

    def gene_table(self, network: nn.Module) -> tuple[Sequence[str], Tensor]:
        """Give the names of all genes that the network has an input vector for, and the vectors.

        What task=perturbation asks with `task_settings.vectors=table`.
        """
        raise NotImplementedError

    def gene_outputs(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give for each place of `output_names` the sum of the last layer's vectors, and how many.

        What task=perturbation averages over control cells.
        """
        raise NotImplementedError

    def output_names(self) -> Sequence[str]:
        """Name the places of `gene_outputs`."""
        return self.position_names()

    def before_step(self, network: nn.Module, step: int) -> None:
        """Change buffers before an optimiser step, counted from 1, and alike on all ranks."""
        return


class MaskedObjective(Protocol):
    """What masked pretraining minimises and how it is judged; a `trainer.Objective`.

    `scores` gives `loss`, `accuracy` (what an epoch can be chosen by), and any more.
    """

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Give the sum of the losses over masked positions, and the sum of their weights."""

    def tally(self, network: nn.Module, batch: Batch) -> dict[str, NDArray[np.float64]]:
        """Measure a batch by sums that may be added up over batches; no gradients."""

    def scores(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """Turn the sums over all cells into scores."""

    def tables(self, tally: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
        """Turn the sums over the reported cells into files for the record: name to text."""


class Pretrainable(TorchModel):
    """A model that can first learn genes from genes; `docs/pretraining.md` shows how.

    A pretraining run calls `build_masked`, then `masked_source`, `masked_objective` and `floors`;
    a fine-tuning run calls `build` and the rest of `TorchModel`, with `start` from the caller.
    Its cells may carry no labels.
    """

    @abstractmethod
    def build_masked(self, train: Cells) -> nn.Module:
        """Make the body with its pretraining head.

        torch's generator is seeded by the caller; what is learnt from `train` belongs into
        buffers.
        """

    @abstractmethod
    def masked_source(self, cells: Cells) -> BatchSource:
        """Encode cells; called after `build_masked`.

        Masks follow from `moment.seed`, `moment.epoch` and the row alone (`dropout.words_of`).
        Epoch 0 is the mask that models are judged by: the same after every epoch.
        """

    @abstractmethod
    def masked_objective(self) -> MaskedObjective:
        """Give what is minimised and measured."""

    @abstractmethod
    def floors(self, train: Cells, cells: Cells, seed: int) -> dict[str, float]:
        """Measure what needs no network, on the positions that epoch 0 masks in `cells`.

        Anything that is learnt is learnt from `train`. The names do not occur among the scores.
        """

    def reconstruction_scores(
        self, network: nn.Module, cells: Cells, fold_C: NDArray[np.int64], seed: int
    ) -> dict[str, float]:
        """Judge what a pretrained network tells of bins beside floors out of fold, if it can."""
        return {}

    @abstractmethod
    def layouts(self, network: nn.Module, epoch: int) -> dict[str, dict[str, Any]]:
        """Give the network of an epoch in every layout that others may load.

        File name below `checkpoints/` to what `torch.save` writes there: plain values and tensors,
        so that `weights_only=True` reads it. `pretrained.pt` is ours: {"format": 1, "model": its
        name, "genes": list of names in order, "network": state dict}; the rest is published ones.
        """


def require_freeze(freeze: str, known: Sequence[str], model: str) -> None:
    """Refuse a way of freezing that a model does not know.

    Raises
    ------
    UserError
        With the ways that it does know.
    """
    if freeze not in known:
        raise UserError(
            f"train.freeze of model={model} must be one of {', '.join(known)}",
            got=repr(freeze),
            remedy=nearest(freeze, known),
        )


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """List what the optimiser may change."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def as_tensor(rows: NDArray[np.integer]) -> Tensor:
    """Give indices as an int64 tensor."""
    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
