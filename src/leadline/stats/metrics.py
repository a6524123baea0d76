"""Every number that a prediction is judged by, from labels and probabilities alone.

Shapes: C cells, K classes. Labels are class indices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]

# Probabilities are stored as float16; its smallest positive value bounds the log-loss.
SMALLEST = 2.0**-24
CALIBRATION_BINS = 15
# What begins the names of rules that need no network, the network's score, and which is better.
RULES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("heuristic_accuracy_", "masking_accuracy", max),
    ("heuristic_loss_", "masked_loss", min),
)


def confusion_matrix(truth_C: Labels, predicted_C: Labels, n_classes: int) -> NDArray[np.int64]:
    """Count cells by true class (row) and predicted class (column)."""
    pairs = truth_C.astype(np.int64) * n_classes + predicted_C
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def averaged_classes(confusion_KK: NDArray[np.int64], rule: str) -> Labels:
    """Choose the classes that a macro average runs over.

    `observed`: in the truth or among the predictions (scikit-learn's default and the paper's, so
    that two models may be averaged over different classes); `truth`: those that have cells;
    `all`: every class the model could have named.
    """
    has_cells = confusion_KK.sum(axis=1) > 0
    if rule == "truth":
        return np.flatnonzero(has_cells)
    if rule == "observed":
        return np.flatnonzero(has_cells | (confusion_KK.sum(axis=0) > 0))
    return np.arange(len(confusion_KK))


def precision_recall_f1(confusion_KK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give precision, recall and F1 of each class, shape (3, K); 0 where one is undefined."""
    hit_K = np.diag(confusion_KK).astype(np.float64)
    predicted_K, true_K = confusion_KK.sum(axis=0), confusion_KK.sum(axis=1)
    return np.stack(
        [
            hit_K / np.maximum(predicted_K, 1),
            hit_K / np.maximum(true_K, 1),
            2 * hit_K / np.maximum(predicted_K + true_K, 1),
        ]
    )


def log_loss(truth_C: Labels, proba_CK: NDArray[np.floating[Any]]) -> float:
    """Mean negative log-probability of the true class, after normalising each cell's row."""
    proba = np.clip(proba_CK.astype(np.float64), SMALLEST, None)
    proba /= proba.sum(axis=1, keepdims=True)
    return float(-np.log(proba[np.arange(len(truth_C)), truth_C]).mean())


def expected_calibration_error(
    truth_C: Labels, predicted_C: Labels, proba_CK: NDArray[np.floating[Any]]
) -> float:
    """Mean gap between confidence in the predicted class and accuracy, in 15 equal bins."""
    confidence_C = proba_CK[np.arange(len(predicted_C)), predicted_C].astype(np.float64)
    bins_C = np.clip((confidence_C * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    gap_C = (truth_C == predicted_C) - confidence_C
    per_bin = np.bincount(bins_C, weights=gap_C, minlength=CALIBRATION_BINS)
    return float(np.abs(per_bin).sum() / len(truth_C))


def hard_metrics(
    truth_C: Labels, predicted_C: Labels, confusion_KK: NDArray[np.int64], hard: Labels
) -> dict[str, float]:
    """Score a named subset of classes under both conventions found in the paper.

    `acc_hard` and `f1_hard_cells` look only at cells whose true class is in the subset;
    `f1_hard`, the paper's, averages the F1 of these classes over the predictions for all cells.
    """
    rows = np.isin(truth_C, hard)
    if not rows.any():
        return {}
    inside_KK = confusion_matrix(truth_C[rows], predicted_C[rows], len(confusion_KK))
    return {
        "acc_hard": float((truth_C[rows] == predicted_C[rows]).mean()),
        "f1_hard": float(precision_recall_f1(confusion_KK)[2, hard].mean()),
        "f1_hard_cells": float(precision_recall_f1(inside_KK)[2, hard].mean()),
    }


def score(
    truth_C: Labels,
    predicted_C: Labels,
    proba_CK: NDArray[np.floating[Any]],
    *,
    labels: str,
    hard: Labels | None = None,
) -> dict[str, float]:
    """Give every scalar metric; `labels` chooses the classes of macro averages."""
    confusion_KK = confusion_matrix(truth_C, predicted_C, proba_CK.shape[1])
    averaged = averaged_classes(confusion_KK, labels)
    precision, recall, f1 = precision_recall_f1(confusion_KK)[:, averaged].mean(axis=1)
    balanced = precision_recall_f1(confusion_KK)[1, averaged_classes(confusion_KK, "truth")]
    result = {
        "accuracy": float(np.trace(confusion_KK) / len(truth_C)),
        "balanced_accuracy": float(balanced.mean()),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "log_loss": log_loss(truth_C, proba_CK),
        "calibration_error": expected_calibration_error(truth_C, predicted_C, proba_CK),
    }
    if hard is not None and len(hard):
        result |= hard_metrics(truth_C, predicted_C, confusion_KK, hard)
    return result


def per_class(
    truth_C: Labels, predicted_C: Labels, classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Give cells, precision, recall and F1 of each class that has cells or predictions."""
    confusion_KK = confusion_matrix(truth_C, predicted_C, len(classes))
    values = precision_recall_f1(confusion_KK)
    return {
        classes[k]: {
            "cells": int(confusion_KK[k].sum()),
            "precision": float(values[0, k]),
            "recall": float(values[1, k]),
            "f1": float(values[2, k]),
        }
        for k in averaged_classes(confusion_KK, "observed")
    }


def collapsed(predicted_C: Labels) -> bool:
    """Say whether every cell got the same class."""
    return len(predicted_C) > 1 and bool((predicted_C == predicted_C[0]).all())


def no_better_than_rules(scores: Mapping[str, float]) -> list[str]:
    """Warn of a network that tells hidden genes no better than a rule that needs none.

    Scores of rules are called as the network's own, after `heuristic_`.
    """
    said = []
    for kind, own, better in RULES:
        rules = {name: x for name, x in scores.items() if name.startswith(kind)}
        if not rules or own not in scores:
            continue
        best = better(rules, key=rules.__getitem__)
        if better(rules[best], scores[own]) == rules[best]:
            said.append(
                f"no better than a rule: {own} {scores[own]:.4f}, and {rules[best]:.4f} by the "
                f"rule {best.removeprefix(kind)}"
            )
    return said
