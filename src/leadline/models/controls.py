"""Models that a transformer must beat before anything is said of it.

Shapes: C cells, G genes, K classes, P components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import softmax

from leadline.config import KnnPcaConfig, NearestCentroidConfig
from leadline.data.cells import Cells, Scale
from leadline.models.base import EXPRESSION, FitResult, expression

ANY_SCALE = frozenset(Scale)


def frequencies(cells: Cells) -> NDArray[np.float64]:
    """Give the share of each class among labelled cells."""
    assert cells.labels_C is not None
    return np.bincount(cells.labels_C, minlength=len(cells.classes)) / len(cells)


class Majority:
    """Predicts the class frequencies of the training cells, whatever the cell."""

    accepts = ANY_SCALE

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Count the classes."""
        self.share_K = frequencies(train)
        return parameters(len(self.share_K))

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give every cell the same probabilities."""
        return np.tile(self.share_K, (len(cells), 1))


class Stratified:
    """Draws each prediction from the class frequencies of the training cells."""

    accepts = ANY_SCALE

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Count the classes."""
        self.share_K = frequencies(train)
        return parameters(len(self.share_K))

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give probability 1 to the class drawn for each cell."""
        # A generator of its own for each call: a part's predictions do not depend on what was
        # predicted before it.
        drawn = np.random.default_rng(self.seed).choice(
            len(self.share_K), size=len(cells), p=self.share_K
        )
        return np.eye(len(self.share_K))[drawn]


class NearestCentroid:
    """Predicts the class whose mean expression is closest to the cell.

    Probabilities are a softmax over negative squared distances in units of the mean squared
    distance within classes: an order, not a calibrated statement.
    """

    accepts = EXPRESSION

    def __init__(self, config: NearestCentroidConfig) -> None:
        self.config = config

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Average the cells of each class."""
        assert train.labels_C is not None
        matrix_CG = expression(train, self.config.input)
        self.present = np.unique(train.labels_C)
        member_KC = (train.labels_C[None, :] == self.present[:, None]).astype(np.float64)
        member_KC /= member_KC.sum(axis=1, keepdims=True)
        self.centroid_KG = sparse.csr_array(member_KC) @ matrix_CG.astype(np.float64)
        self.centroid_KG = self.centroid_KG.toarray()
        distance_CK = self._distances(matrix_CG)
        own = distance_CK[np.arange(len(train)), np.searchsorted(self.present, train.labels_C)]
        self.unit = max(float(own.mean()), 1e-12)
        return parameters(self.centroid_KG.size)

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Weigh the classes by closeness."""
        distance_CK = self._distances(expression(cells, self.config.input))
        proba = np.zeros((len(cells), len(cells.classes)))
        proba[:, self.present] = softmax(-distance_CK / self.unit, axis=1)
        return proba

    def _distances(self, matrix_CG: sparse.csr_array) -> NDArray[np.float64]:
        matrix_CG = matrix_CG.astype(np.float64)
        length_C = np.asarray(matrix_CG.multiply(matrix_CG).sum(axis=1)).ravel()
        length_K = (self.centroid_KG**2).sum(axis=1)
        cross_CK = matrix_CG @ self.centroid_KG.T
        return np.maximum(length_C[:, None] - 2 * cross_CK + length_K, 0.0)


class KnnPca:
    """Votes among the nearest training cells in the space of their principal components."""

    accepts = EXPRESSION

    def __init__(self, config: KnnPcaConfig, *, seed: int) -> None:
        self.config, self.seed = config, seed

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Find the components and remember where each training cell lies."""
        from sklearn.decomposition import PCA
        from sklearn.neighbors import KNeighborsClassifier

        matrix_CG = expression(train, self.config.input)
        components = min(self.config.components, len(train) - 1, matrix_CG.shape[1])
        neighbours = min(self.config.neighbours, len(train))
        # arpack takes sparse input and, from a fixed start, gives the same components each time.
        solver = "arpack" if components < min(matrix_CG.shape) else "full"
        dense = matrix_CG if solver == "arpack" else matrix_CG.toarray()
        self.pca = PCA(components, svd_solver=solver, random_state=self.seed)
        position_CP = self.pca.fit_transform(dense)
        self.votes = KNeighborsClassifier(neighbours).fit(position_CP, train.labels_C)
        size = self.pca.components_.size + position_CP.size
        return parameters(size, components=components, neighbours=neighbours)

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give the share of votes for each class."""
        position_CP = self.pca.transform(expression(cells, self.config.input))
        proba = np.zeros((len(cells), len(cells.classes)))
        proba[:, self.votes.classes_] = self.votes.predict_proba(position_CP)
        return proba


def parameters(count: int, **facts: int) -> FitResult:
    """Count numbers learnt from the cells, all of them trainable."""
    return FitResult(facts={"parameters_total": count, "parameters_trainable": count, **facts})
