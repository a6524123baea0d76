"""A probe on positions that another program gave the cells.

What an embedding holds of cell types is asked by a linear model, or by neighbours.
Shapes: C cells, D dimensions, R values of the regularisation C.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import EmbeddingConfig
from leadline.data.cells import Cells, Scale
from leadline.models.base import FitResult, require_two_classes

GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
FOLDS = 5
ITERATIONS = 2000
# Nobody but its maker knows what an embedding was made from.
CAVEAT = (
    "the positions were made outside leadline: whether their model saw the reported cells, or any "
    "labels, is not known"
)


class Probe:
    """Logistic regression or a vote of neighbours on `Cells.positions_CD`."""

    accepts = frozenset(Scale)

    def __init__(self, config: EmbeddingConfig) -> None:
        self.config = config

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Scale by the training cells and fit the probe to them."""
        assert train.labels_C is not None and train.positions_CD is not None
        require_two_classes(train)
        positions_CD = train.positions_CD.astype(np.float64)
        self.centre_D = np.zeros(positions_CD.shape[1])
        self.factor_D = np.ones(positions_CD.shape[1])
        if self.config.standardise:
            self.centre_D, self.factor_D = scaling(positions_CD)
        inputs_CD = self._input(train)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            facts = self._fit_probe(inputs_CD, train.labels_C)
        notes = sorted({str(item.message).splitlines()[0] for item in caught})
        shape = {"probe": self.config.probe, "dimensions": inputs_CD.shape[1]}
        return FitResult(facts={**facts, **shape}, warnings=[CAVEAT, *notes])

    def embed(self, cells: Cells) -> NDArray[np.float32]:
        """Give the positions as they came; for task=zero_shot."""
        assert cells.positions_CD is not None
        return cells.positions_CD

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Ask the probe; classes without training cells get 0."""
        proba = np.zeros((len(cells), len(cells.classes)))
        proba[:, self.probe.classes_] = self.probe.predict_proba(self._input(cells))
        return proba

    def _fit_probe(
        self, inputs_CD: NDArray[np.float64], labels_C: NDArray[np.int32]
    ) -> dict[str, Any]:
        if self.config.probe == "knn":
            from sklearn.neighbors import KNeighborsClassifier

            neighbours = min(self.config.neighbours, len(inputs_CD))
            self.probe = KNeighborsClassifier(neighbours).fit(inputs_CD, labels_C)
            size = inputs_CD.size
            return {"parameters_total": size, "parameters_trainable": size}
        value, folds = self.config.C, 0
        if value is None:
            value, folds = best_c(inputs_CD, labels_C)
        self.probe = linear(value).fit(inputs_CD, labels_C)
        size = self.probe.coef_.size + self.probe.intercept_.size
        return {
            "parameters_total": size,
            "parameters_trainable": size,
            "C": value,
            "C_chosen_by": f"{folds}-fold cross-validation" if folds else "configuration",
        }

    def _input(self, cells: Cells) -> NDArray[np.float64]:
        assert cells.positions_CD is not None
        return (cells.positions_CD.astype(np.float64) - self.centre_D) * self.factor_D


def linear(value: float) -> Any:
    """Make an L2 logistic regression; lbfgs draws nothing, so it needs no seed."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=value, max_iter=ITERATIONS)


def best_c(inputs_CD: NDArray[np.float64], labels_C: NDArray[np.int32]) -> tuple[float, int]:
    """Give the C with the best cross-validated accuracy, the smallest among equals, and folds.

    A class needs a cell in each of two folds to be judged; where none has, C = 1 is taken.
    """
    from sklearn.model_selection import StratifiedKFold

    cells_K = np.unique(labels_C, return_counts=True)[1]
    folds = int(min(FOLDS, cells_K.max()))
    if folds < 2 or len(cells_K) < 2:
        return 1.0, 0
    right_R = np.zeros(len(GRID))
    with warnings.catch_warnings():
        # Classes with fewer cells than folds are absent from some; sklearn warns of each.
        warnings.filterwarnings("ignore", message="The least populated class")
        pairs = list(StratifiedKFold(folds).split(inputs_CD, labels_C))
    for fitted, held in pairs:
        if len(np.unique(labels_C[fitted])) < 2:
            continue
        for r, value in enumerate(GRID):
            said_C = linear(value).fit(inputs_CD[fitted], labels_C[fitted]).predict(inputs_CD[held])
            right_R[r] += np.count_nonzero(said_C == labels_C[held])
    return GRID[int(right_R.argmax())], folds


def scaling(positions_CD: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give centre and factor of each dimension; one that never varies gets factor 0."""
    deviation_D = positions_CD.std(axis=0)
    centre_D = positions_CD.mean(axis=0)
    varies = deviation_D > 1e-9 * np.maximum(np.abs(centre_D), 1e-9)
    factor_D = np.divide(1.0, deviation_D, out=np.zeros_like(deviation_D), where=varies)
    return centre_D, factor_D
