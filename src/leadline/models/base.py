"""The interface that every model has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Cells, Scale
from leadline.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a model has to say of its own fitting; all of it goes into the record.

    Attributes
    ----------
    facts
        JSON values; `parameters_total` and `parameters_trainable` are always among them.
    epochs
        The learning curve, one row an epoch, for models that have epochs.
    tables
        Files to be kept beside the predictions: name → text.
    arrays
        The same of numbers: name of an .npz → its arrays.
    warnings
        What a careful reader must know.
    """

    facts: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    warnings: Sequence[str] = ()


@runtime_checkable
class Model(Protocol):
    """What a run needs of a model; `accepts` names the scales of expression that it can read."""

    accepts: frozenset[Scale]

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Learn from labelled cells; the cells that are reported on are never among them."""

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give class probabilities, shape (C, K) over `cells.classes`; rows sum to 1."""


@runtime_checkable
class CellEmbedder(Protocol):
    """What gives each cell a vector without being trained on labels (task=zero_shot)."""

    accepts: frozenset[Scale]

    def embed(self, cells: Cells) -> NDArray[np.float32]:
        """Give a vector for each cell, in the order of the cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneVectors:
    """Vectors of named genes, one row each, and what the record says of their origin."""

    genes: Sequence[str]
    vectors_GD: NDArray[np.floating[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class GeneEmbedder(Protocol):
    """What gives genes vectors (task=perturbation); it sees control cells alone."""

    accepts: frozenset[Scale]

    def embed_genes(self, control: Cells) -> GeneVectors:
        """Give a vector for each gene that it knows, of these cells or beyond them."""


# z-scores are not among them: they were computed over all cells, the reported ones too.
EXPRESSION = frozenset({Scale.COUNTS, Scale.LN_CP10K, Scale.LOG2_CP10K, Scale.LOG_OTHER})


def expression(cells: Cells, wanted: str) -> sparse.csr_array:
    """Give log-normalised expression; `as_given` keeps a log scale as it comes."""
    return cells.lognorm(None if wanted == "as_given" else Scale(wanted))


def require_two_classes(train: Cells) -> None:
    """Refuse training cells of a single class."""
    assert train.labels_C is not None
    present = np.unique(train.labels_C)
    if len(present) < 2:
        raise UserError(
            "a classifier needs at least 2 classes among the training cells",
            got=f"{len(train)} cells, all {train.classes[present[0]]!r}",
            remedy="choose another label column or a larger data.fraction",
        )
