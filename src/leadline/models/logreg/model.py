"""L1 logistic regression, one class against the rest: the baseline that has to be beaten.

Shapes: C cells, G genes, K classes, F folds, R values of the regularisation C.
"""

from __future__ import annotations

import csv
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.cells import Cells
from leadline.config import LogregConfig
from leadline.errors import UserError
from leadline.models.base import Fit
from leadline.models.expression import EXPRESSION, expression
from leadline.progress import progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How C was chosen: accuracy of each value in each fold."""

    grid_R: NDArray[np.float64]
    accuracy_RF: NDArray[np.float64]

    @property
    def best(self) -> float:
        """The value with the highest mean accuracy; the smallest among equals."""
        return float(self.grid_R[np.argmax(self.accuracy_RF.mean(axis=1))])

    def facts(self) -> dict[str, Any]:
        """Give the curve as JSON values."""
        error_R = self.accuracy_RF.std(axis=1, ddof=1) / np.sqrt(self.accuracy_RF.shape[1])
        return {
            "C": self.grid_R.tolist(),
            "accuracy": self.accuracy_RF.mean(axis=1).tolist(),
            "standard_error": error_R.tolist(),
        }


class LogisticRegression:
    """scikit-learn's liblinear as the paper used it, with C fixed or cross-validated."""

    accepts = EXPRESSION

    def __init__(self, config: LogregConfig, *, seed: int) -> None:
        self.config, self.seed = config, seed

    def fit(self, train: Cells, selection: Cells | None) -> Fit:
        """Choose C on the training cells unless it is given, then fit on all of them."""
        assert train.labels_C is not None
        require_two_classes(train)
        matrix_CG = expression(train, self.config.input)
        notes: list[str] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            chosen = None if self.config.C is not None else self._choose(matrix_CG, train.labels_C)
            value = self.config.C if chosen is None else chosen.best
            assert value is not None
            self.model = self._estimator(value, seed=self.seed).fit(matrix_CG, train.labels_C)
        notes += sorted({str(item.message).splitlines()[0] for item in caught})
        if chosen is not None and value in (chosen.grid_R.min(), chosen.grid_R.max()):
            notes.append(f"the chosen C = {value:g} lies on the edge of the grid")
        weight_KG = np.vstack([one.coef_ for one in self.model.estimators_])
        bias_K = np.concatenate([one.intercept_ for one in self.model.estimators_])
        return Fit(
            facts={
                "parameters_total": weight_KG.size + bias_K.size,
                "parameters_trainable": weight_KG.size + bias_K.size,
                "nonzero_weights": int(np.count_nonzero(weight_KG)),
                "C": value,
                "C_chosen_by": "configuration" if chosen is None else "cross-validation",
                "cross_validation": None if chosen is None else chosen.facts(),
            },
            tables={"top_genes.csv": top_genes(train, self.model.classes_, weight_KG)},
            warnings=notes,
        )

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give each class's sigmoid, divided by their sum; 0 for classes without training cells."""
        proba = np.zeros((len(cells), len(cells.classes)))
        matrix_CG = expression(cells, self.config.input)
        proba[:, self.model.classes_] = self.model.predict_proba(matrix_CG)
        return proba

    def _choose(self, matrix_CG: sparse.csr_array, labels_C: NDArray[np.int32]) -> Choice:
        from sklearn.model_selection import StratifiedKFold

        config = self.config
        if np.bincount(labels_C).max() < config.folds:
            raise UserError(
                f"choosing C by {config.folds}-fold cross-validation needs a class with "
                f"{config.folds} cells",
                got=f"at most {int(np.bincount(labels_C).max())} training cells in a class",
                remedy="raise data.fraction, lower model.folds, or fix model.C=0.1",
            )
        folds = list(StratifiedKFold(config.folds).split(matrix_CG, labels_C))
        accuracy_RF = np.zeros((len(config.grid), config.folds))
        with progress("cross-validation", accuracy_RF.size) as advance:
            for r, value in enumerate(config.grid):
                for f, (fitted, held) in enumerate(folds):
                    model = self._estimator(value, seed=0).fit(matrix_CG[fitted], labels_C[fitted])
                    accuracy_RF[r, f] = model.score(matrix_CG[held], labels_C[held])
                    advance(1)
        return Choice(grid_R=np.array(config.grid), accuracy_RF=accuracy_RF)

    def _estimator(self, value: float, *, seed: int) -> Any:
        from sklearn.linear_model import LogisticRegression as Liblinear
        from sklearn.multiclass import OneVsRestClassifier

        return OneVsRestClassifier(
            Liblinear(
                l1_ratio=1.0,
                solver="liblinear",
                C=value,
                tol=self.config.tolerance,
                max_iter=self.config.max_iterations,
                class_weight=None if self.config.class_weight == "none" else "balanced",
                random_state=seed,
            )
        )


def require_two_classes(train: Cells) -> None:
    """Refuse training cells of a single class."""
    assert train.labels_C is not None
    present = np.unique(train.labels_C)
    if len(present) < 2:
        raise UserError(
            "logistic regression needs at least 2 classes among the training cells",
            got=f"{len(train)} cells, all {train.classes[present[0]]!r}",
            remedy="choose another label column or a larger data.fraction",
        )


def top_genes(
    train: Cells, present: NDArray[np.int32], weight_KG: NDArray[np.float64], most: int = 50
) -> str:
    """List the genes that speak most for and against each class, as CSV."""
    # Two classes share one row of weights: it speaks for the second and against the first.
    if len(present) == 2:
        weight_KG = np.vstack([-weight_KG, weight_KG])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "rank", "gene", "weight"])
    for k, weight_G in zip(present, weight_KG, strict=True):
        order = np.argsort(-np.abs(weight_G), kind="stable")[:most]
        for rank, gene in enumerate(order[weight_G[order] != 0], start=1):
            writer.writerow([train.classes[k], rank, train.genes[gene], f"{weight_G[gene]:.6g}"])
    return buffer.getvalue()
