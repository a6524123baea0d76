"""Probes of frozen vectors: 15 nearest neighbours and logistic regression, out of fold.

Each cell is predicted by cells of other folds only. Folds are codes, one a cell: stratified, by
donor, or the batch itself (leave one batch out). Shapes: C cells, D dimensions, L classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.optimize
from scipy.special import expit, log_softmax, softmax

from leadline.errors import UserError
from leadline.stats.embedding_inputs import (
    Codes,
    Floats,
    checked_codes,
    checked_vectors,
    require_groups,
)
from leadline.stats.neighbours import majority_vote, nearest_among

PROBE_NEIGHBOURS = 15
FOLDS = 5
# In coordinates of even curvature. 1e-2 and 1e-4 predicted the same for 4,000 cells held out of
# 20,000, in 26 and 325 evaluations.
GRADIENT_TOLERANCE = 1e-2


def stratified_folds(
    label_C: npt.ArrayLike, rng: np.random.Generator, n_folds: int = FOLDS
) -> Codes:
    """Deal the shuffled cells of each label to the folds in turn, so that sizes differ by one."""
    label = checked_codes(label_C)
    _require_folds(n_folds, len(label), "cells")
    order = rng.permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]
    fold = np.empty(len(label), dtype=np.int64)
    fold[order] = np.arange(len(label)) % n_folds
    return fold


def donor_folds(donor_C: npt.ArrayLike, rng: np.random.Generator, n_folds: int = FOLDS) -> Codes:
    """Keep each donor in one fold; the largest donors first, each to the smallest fold."""
    donor = checked_codes(donor_C, what="donor")
    size = np.bincount(donor)
    if len(size) < 2:
        raise UserError(
            "folds by donor need two donors", got="one", remedy="use stratified folds and say so"
        )
    shuffled = rng.permutation(len(size))
    filled = np.zeros(min(n_folds, len(size)), dtype=np.int64)
    fold_of_donor = np.empty(len(size), dtype=np.int64)
    for each in shuffled[np.argsort(-size[shuffled], kind="stable")]:
        fold_of_donor[each] = filled.argmin()
        filled[filled.argmin()] += size[each]
    return fold_of_donor[donor]


def leave_one_batch_out(batch_C: npt.ArrayLike) -> Codes:
    """Make each batch a fold: the task of mapping a new batch to a reference."""
    batch = checked_codes(batch_C, what="batch")
    require_groups(batch, "leaving one batch out", "batches")
    return batch


def knn_predictions(
    vectors_CD: npt.ArrayLike,
    label_C: npt.ArrayLike,
    fold_C: npt.ArrayLike,
    k: int = PROBE_NEIGHBOURS,
) -> Codes:
    """Predict by a vote of the k nearest cells of other folds, ties to the lower class."""
    vectors = checked_vectors(vectors_CD)
    label = checked_codes(label_C, len(vectors))
    fold = checked_codes(fold_C, len(vectors), "fold")
    require_groups(fold, "a probe", "folds")
    predicted = np.empty(len(vectors), dtype=np.int64)
    for each in range(int(fold.max()) + 1):
        held = fold == each
        near = nearest_among(vectors[held], vectors[~held], k)
        predicted[held] = majority_vote(label[~held][near], int(label.max()) + 1)
    return predicted


def linear_predictions(
    vectors_CD: npt.ArrayLike, label_C: npt.ArrayLike, fold_C: npt.ArrayLike, c: float = 1.0
) -> Codes:
    """Predict by L2 logistic regression on z-scores, both fitted on the other folds.

    The problem is that of scikit-learn's `LogisticRegression(C=c)`: softmax, or the logistic loss
    for two classes; free intercepts. A label without cells in the other folds is never predicted.
    """
    vectors = checked_vectors(vectors_CD)
    label = checked_codes(label_C, len(vectors))
    fold = checked_codes(fold_C, len(vectors), "fold")
    require_groups(fold, "a probe", "folds")
    predicted = np.empty(len(vectors), dtype=np.int64)
    for each in range(int(fold.max()) + 1):
        held = fold == each
        predicted[held] = _fit_predict(vectors[~held], label[~held], vectors[held], c)
    return predicted


def accuracy(truth_C: npt.ArrayLike, predicted_C: npt.ArrayLike) -> float:
    """Share of cells with the right class."""
    return float((np.asarray(truth_C) == np.asarray(predicted_C)).mean())


def macro_f1(truth_C: npt.ArrayLike, predicted_C: npt.ArrayLike) -> float:
    """Mean F1 over the classes in truth or predictions (scikit-learn's default)."""
    truth, predicted = np.asarray(truth_C), np.asarray(predicted_C)
    both = checked_codes(np.concatenate([truth, predicted]))
    truth, predicted = both[: len(truth)], both[len(truth) :]
    n = int(both.max()) + 1
    hit = np.bincount(truth[truth == predicted], minlength=n)
    f1 = 2 * hit / (np.bincount(truth, minlength=n) + np.bincount(predicted, minlength=n))
    return float(f1.mean())


@dataclass(frozen=True, slots=True)
class BatchProbe:
    """How well neighbours of the same label tell the batch; equal to `majority` is well mixed."""

    accuracy: float
    majority: float
    cells: Codes
    hit: npt.NDArray[np.bool_]

    @property
    def excess(self) -> float:
        """Accuracy above always naming the largest batch of the label, of what is possible."""
        return (self.accuracy - self.majority) / (1 - self.majority)


def knn_batch_probe(
    vectors_CD: npt.ArrayLike,
    batch_C: npt.ArrayLike,
    label_C: npt.ArrayLike,
    rng: np.random.Generator,
    n_folds: int = FOLDS,
    k: int = PROBE_NEIGHBOURS,
) -> BatchProbe:
    """Predict the batch out of fold within each label: the number that dimensions cannot fool.

    Labels of a single batch, or with fewer cells than folds, are left out; `cells` and `hit` say
    which cells were asked and which were right.
    """
    vectors = checked_vectors(vectors_CD)
    batch = checked_codes(batch_C, len(vectors), "batch")
    label = checked_codes(label_C, len(vectors))
    require_groups(batch, "the batch probe", "batches")
    asked, hits, largest = [], [], 0
    for each in range(int(label.max()) + 1):
        cells = np.flatnonzero(label == each)
        if len(cells) < n_folds or len(np.unique(batch[cells])) < 2:
            continue
        fold = stratified_folds(batch[cells], rng, n_folds)
        within = checked_codes(batch[cells])
        asked.append(cells)
        hits.append(knn_predictions(vectors[cells], within, fold, k) == within)
        largest += int(np.bincount(within).max())
    if not asked:
        raise UserError(
            f"the batch probe needs a label with two batches and {n_folds} cells",
            got="none",
            remedy="batch and label cannot be told apart here; leave the probe out",
        )
    hit = np.concatenate(hits)
    return BatchProbe(float(hit.mean()), largest / len(hit), np.concatenate(asked), hit)


def _require_folds(n_folds: int, available: int, what: str) -> None:
    if not 2 <= n_folds <= available:
        raise UserError(
            f"folds are two or more, and no more than there are {what}",
            got=f"{n_folds} folds for {available} {what}",
            remedy="use fewer folds",
        )


def _fit_predict(train_CD: Floats, label_C: Codes, held_CD: Floats, c: float) -> Codes:
    classes, label = np.unique(label_C, return_inverse=True)
    if len(classes) == 1:
        return np.full(len(held_CD), classes[0])
    mean_D, sd_D = train_CD.mean(axis=0), train_CD.std(axis=0)
    # A constant column is left as it is, 0 after centring, as scikit-learn's scaler does.
    sd_D[sd_D <= 10 * np.finfo(np.float64).eps * np.abs(mean_D) * np.sqrt(len(train_CD))] = 1.0
    z_CD = (train_CD - mean_D) / sd_D
    weight_DL, intercept_L = _logistic_regression(z_CD, label, len(classes), c)
    score_CL = ((held_CD - mean_D) / sd_D) @ weight_DL + intercept_L
    if len(classes) == 2:
        return classes[(score_CL[:, 0] > 0).astype(np.int64)]
    return classes[score_CL.argmax(axis=1)]


def _logistic_regression(
    z_CD: Floats, label_C: Codes, n_classes: int, c: float
) -> tuple[Floats, Floats]:
    """Minimise c·loss + ½|weights|² by L-BFGS, in coordinates in which its curvature is even.

    These are the principal axes, each scaled by what data and penalty curve together. It changes
    the path, not the minimum; correlated dimensions need ten times as many steps without.
    """
    n_cells, n_dims = z_CD.shape
    variance_D, axes_DD = scipy.linalg.eigh(z_CD.T @ z_CD)
    scale_D = 1 / np.sqrt(1 + c * np.maximum(variance_D, 0) / n_classes)
    x_CD = z_CD @ (axes_DD * scale_D)
    n_scores = 1 if n_classes == 2 else n_classes
    per_intercept = 1 / np.sqrt(c * n_cells / n_classes)
    truth_CL = np.zeros((n_cells, n_scores))
    if n_scores == 1:
        truth_CL[:, 0] = label_C
    else:
        truth_CL[np.arange(n_cells), label_C] = 1.0

    def objective(flat: Floats) -> tuple[float, Floats]:
        u_DL = flat.reshape(n_dims + 1, n_scores)
        score_CL = x_CD @ u_DL[:-1] + u_DL[-1] * per_intercept
        if n_scores == 1:
            loss = np.logaddexp(0, score_CL).sum() - (score_CL * truth_CL).sum()
            error_CL = expit(score_CL) - truth_CL
        else:
            loss = -(log_softmax(score_CL, axis=1) * truth_CL).sum()
            error_CL = softmax(score_CL, axis=1) - truth_CL
        penalised = u_DL[:-1] * scale_D[:, None] ** 2
        gradient = np.empty_like(u_DL)
        gradient[:-1] = c * (x_CD.T @ error_CL) + penalised
        gradient[-1] = c * error_CL.sum(axis=0) * per_intercept
        return float(c * loss + 0.5 * (penalised * u_DL[:-1]).sum()), gradient.ravel()

    found = scipy.optimize.minimize(
        objective,
        np.zeros((n_dims + 1) * n_scores),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "maxfun": 4000, "gtol": GRADIENT_TOLERANCE, "ftol": 1e-15},
    ).x.reshape(n_dims + 1, n_scores)
    return (axes_DD * scale_D) @ found[:-1], found[-1] * per_intercept
