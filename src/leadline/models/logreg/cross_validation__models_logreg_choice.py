"""Which C: cross-validated accuracy of each value of the grid.

Shapes: C cells, F folds, R values of the regularisation C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import LogregConfig
from leadline.data.cells import Cells
from leadline.errors import UserError

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How C was chosen: accuracy of each value in each fold, and whether its fits converged."""

    grid_R: NDArray[np.float64]
    accuracy_RF: NDArray[np.float64]
    converged_RF: NDArray[np.bool_]

    @property
    def best(self) -> float:
        """The value with the highest mean accuracy; the smallest among equals."""
        return float(self.grid_R[np.argmax(self.accuracy_RF.mean(axis=1))])

    def facts(self) -> dict[str, Any]:
        """Give the curve as JSON values."""
        mean_R = self.accuracy_RF.mean(axis=1)
        error_R = self.accuracy_RF.std(axis=1, ddof=1) / np.sqrt(self.accuracy_RF.shape[1])
        near_R = mean_R >= mean_R.max() - error_R[np.argmax(mean_R)]
        return {
            "C": self.grid_R.tolist(),
            "accuracy": mean_R.tolist(),
            "standard_error": error_R.tolist(),
            "converged": self.converged_RF.all(axis=1).tolist(),
            "within_one_standard_error_of_the_best": self.grid_R[near_R].tolist(),
        }

    def warnings(self) -> list[str]:
        """Say what makes the choice doubtful."""
        found = []
        if len(self.grid_R) > 1 and self.best in (self.grid_R[0], self.grid_R[-1]):
            found.append(f"the chosen C = {self.best:g} lies on the edge of the grid")
        open_R = self.grid_R[~self.converged_RF.all(axis=1)]
        if len(open_R):
            values = ", ".join(f"{value:g}" for value in open_R)
            found.append(
                f"cross-validation at C = {values} scored solutions short of the optimum: these "
                "accuracies, and a choice between them, are partly those of the stopping rule"
            )
        return found


def make_folds(train: Cells, config: LogregConfig) -> list[tuple[Rows, Rows]]:
    """Cut the training cells into (fitted, held out) pairs, unshuffled, in their order."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    assert train.labels_C is not None
    check_folds(train, config)
    place_C = np.zeros((len(train), 1))
    if config.cv == "group":
        cut = StratifiedGroupKFold(config.folds).split(place_C, train.labels_C, train.batch_C)
    else:
        cut = StratifiedKFold(config.folds).split(place_C, train.labels_C)
    folds = [(fitted, held) for fitted, held in cut if len(held)]
    alone = [f for f, (fitted, _) in enumerate(folds) if len(np.unique(train.labels_C[fitted])) < 2]
    if alone:
        raise UserError(
            "each fold of the cross-validation must train on at least 2 classes",
            got=f"{len(alone)} of {len(folds)} folds with one",
            remedy="raise data.fraction, lower model.folds, or fix model.C=0.1",
        )
    return folds


def check_folds(train: Cells, config: LogregConfig) -> None:
    """Refuse cells that cannot be cut into so many folds."""
    assert train.labels_C is not None
    largest = int(np.bincount(train.labels_C).max())
    if config.cv == "stratified" and largest < config.folds:
        raise UserError(
            f"choosing C by {config.folds}-fold cross-validation needs a class with "
            f"{config.folds} cells",
            got=f"at most {largest} training cells in a class",
            remedy="raise data.fraction, lower model.folds, or fix model.C=0.1",
        )
    if config.cv == "group" and train.batch_C is None:
        raise UserError(
            "model.cv=group needs batches",
            got="none",
            remedy="name their column with data.batch=",
        )
    if train.batch_C is not None and config.cv == "group":
        n_batches = len(np.unique(train.batch_C))
        if n_batches < config.folds:
            raise UserError(
                f"model.cv=group needs as many batches as folds, {config.folds}",
                got=f"{n_batches} batches among the training cells",
                remedy="lower model.folds, or use model.cv=stratified",
            )
