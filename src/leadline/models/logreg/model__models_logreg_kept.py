"""A fitted logistic regression as arrays in its record, and back: no refit, no training cells.

Shapes: C cells, G genes, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells import Cells, Scale
from leadline.models import novelty as likeness
from leadline.models.base__models_expression import expression
from leadline.models.logreg.cross_validation import packed, unpacked
from leadline.models.logreg.l1.path import PathFit, predict_proba
from leadline.models.novelty import Likeness

FILE = "model.npz"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Weights, and what must be known of the training cells to use them on others."""

    genes: NDArray[np.str_]
    classes: tuple[str, ...]
    scale: Scale
    input: str
    solution: PathFit
    likeness: Likeness

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give class probabilities of cells that have these genes in this order."""
        found = predict_proba(expression(cells, self.input), self.solution, -1)
        proba = np.zeros((len(cells), len(self.classes)))
        proba[:, : found.shape[1]] = found
        return proba


def keep(train: Cells, solution: PathFit, wanted: str) -> dict[str, NDArray[Any]]:
    """Lay a solution out with the genes, classes and class means of its training cells."""
    assert train.labels_C is not None
    return {
        "format": np.array(FORMAT),
        "genes": train.genes,
        "class_names": np.array(train.classes, dtype=np.str_),
        "scale": np.array(str(train.scale)),
        "input": np.array(wanted),
        **packed(solution),
        **likeness.learn(expression(train, "as_given"), train.labels_C).arrays(),
    }


def recall(arrays: Mapping[str, NDArray[Any]]) -> Kept:
    """Make a fitted model of what `keep` laid out."""
    return Kept(
        genes=arrays["genes"],
        classes=tuple(arrays["class_names"].tolist()),
        scale=Scale(str(arrays["scale"])),
        input=str(arrays["input"]),
        solution=unpacked(arrays),
        likeness=Likeness.of(arrays),
    )
