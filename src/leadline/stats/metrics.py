"""Every number that a prediction is judged by, from labels and probabilities alone: one row each.

Shapes: C cells, K classes. Labels are class indices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.stats.perturbation_metrics import METRICS, PerturbationMetric

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


def log_losses(truth_C: Labels, proba_CK: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Negative log-probability of each cell's true class, after normalising the cell's row."""
    proba = np.clip(proba_CK.astype(np.float64), SMALLEST, None)
    proba /= proba.sum(axis=1, keepdims=True)
    return np.asarray(-np.log(proba[np.arange(len(truth_C)), truth_C]))


def log_loss(truth_C: Labels, proba_CK: NDArray[np.floating[Any]]) -> float:
    """Average the log losses over cells."""
    return float(log_losses(truth_C, proba_CK).mean())


def expected_calibration_error(
    truth_C: Labels, predicted_C: Labels, proba_CK: NDArray[np.floating[Any]]
) -> float:
    """Mean gap between confidence in the predicted class and accuracy, in 15 equal bins."""
    confidence_C = proba_CK[np.arange(len(predicted_C)), predicted_C].astype(np.float64)
    bins_C = np.clip((confidence_C * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    gap_C = (truth_C == predicted_C) - confidence_C
    per_bin = np.bincount(bins_C, weights=gap_C, minlength=CALIBRATION_BINS)
    return float(np.abs(per_bin).sum() / len(truth_C))


@dataclass(frozen=True)
class Calls:
    """Cells with their classes, what a model called them, and how sure it was.

    `labels` chooses the classes of macro averages, `hard` are classes that are scored apart.
    """

    truth_C: Labels
    predicted_C: Labels
    proba_CK: NDArray[np.floating[Any]]
    labels: str
    hard: Labels | None = None

    @cached_property
    def confusion_KK(self) -> NDArray[np.int64]:
        """Cells by true and predicted class."""
        return confusion_matrix(self.truth_C, self.predicted_C, self.proba_CK.shape[1])

    @cached_property
    def of_classes(self) -> NDArray[np.float64]:
        """Precision, recall and F1 of each class, shape (3, K)."""
        return precision_recall_f1(self.confusion_KK)

    @cached_property
    def macro(self) -> NDArray[np.float64]:
        """Precision, recall and F1, averaged over the classes that `labels` chooses."""
        averaged = averaged_classes(self.confusion_KK, self.labels)
        return np.asarray(self.of_classes[:, averaged].mean(axis=1))

    @cached_property
    def hard_C(self) -> NDArray[np.bool_]:
        """Say of each cell whether its true class is hard."""
        return np.isin(self.truth_C, [] if self.hard is None else self.hard)


# Functions of rows, beside those above.
def balanced_accuracy(calls: Calls) -> float:
    """Recall averaged over the classes that have cells."""
    return float(calls.of_classes[1, averaged_classes(calls.confusion_KK, "truth")].mean())


def accuracy_hard(calls: Calls) -> float | None:
    """Accuracy on the cells whose true class is hard."""
    rows = calls.hard_C
    return float((calls.truth_C[rows] == calls.predicted_C[rows]).mean()) if rows.any() else None


def f1_hard(calls: Calls) -> float | None:
    """F1 of the hard classes over the predictions for all cells, as the paper has it."""
    return float(calls.of_classes[2, calls.hard].mean()) if calls.hard_C.any() else None


def f1_hard_cells(calls: Calls) -> float | None:
    """F1 of the hard classes over the predictions for their own cells alone."""
    rows = calls.hard_C
    if not rows.any():
        return None
    inside_KK = confusion_matrix(
        calls.truth_C[rows], calls.predicted_C[rows], len(calls.confusion_KK)
    )
    return float(precision_recall_f1(inside_KK)[2, calls.hard].mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: how it is computed, told and judged.

    `of` gives None where the metric is not defined; a metric of another task has none, its task
    computes it. No value lies outside its `limits`. Differences of a metric `in_points` are told
    as hundredths.
    """

    title: str
    of: Callable[[Calls], float | None] | None = None
    higher_is_better: bool = True
    in_points: bool = True
    task: str = "classify"
    limits: tuple[float, float] = (-math.inf, math.inf)


# Those of predicted knock-outs, whose functions take responses: some by what they are called in a
# record, and three that say where a prediction stands.
PERTURBATION = (
    *METRICS,
    PerturbationMetric(name="overlap10", title="overlap of the top 10", higher_is_better=True),
    PerturbationMetric(name="sign10", title="sign of the top 10", higher_is_better=True),
    PerturbationMetric(name="skill", title="skill", higher_is_better=True),
    PerturbationMetric(name="coverage", title="coverage", higher_is_better=True),
    PerturbationMetric(
        name="l2_without_target", title="L2 without the perturbed gene", higher_is_better=False
    ),
    PerturbationMetric(
        name="l2_with_vector", title="L2 where there is a vector", higher_is_better=False
    ),
)

# Rounding leaves a mean of ones a little above one.
SHARE = (-1e-9, 1 + 1e-9)
LOSS = (-1e-9, math.inf)


# Scores of embeddings that are shares, as those of probes; others may be below 0 or above 1.
SHARES = re.compile(r"nmi_|knn_|linear_|batch_probe_(?!excess)|graph_connectivity")

# Every metric, in the order of record.json.
ROWS: dict[str, Metric] = {
    "accuracy": Metric(
        title="accuracy",
        of=lambda calls: float(np.trace(calls.confusion_KK) / len(calls.truth_C)),
        limits=SHARE,
    ),
    "balanced_accuracy": Metric(title="balanced accuracy", of=balanced_accuracy, limits=SHARE),
    "macro_precision": Metric(
        title="macro-precision", of=lambda calls: float(calls.macro[0]), limits=SHARE
    ),
    "macro_recall": Metric(
        title="macro-recall", of=lambda calls: float(calls.macro[1]), limits=SHARE
    ),
    "macro_f1": Metric(title="macro-F1", of=lambda calls: float(calls.macro[2]), limits=SHARE),
    "log_loss": Metric(
        title="log loss",
        of=lambda calls: log_loss(calls.truth_C, calls.proba_CK),
        higher_is_better=False,
        in_points=False,
        limits=LOSS,
    ),
    "calibration_error": Metric(
        title="calibration error",
        of=lambda calls: expected_calibration_error(
            calls.truth_C, calls.predicted_C, calls.proba_CK
        ),
        higher_is_better=False,
        in_points=False,
        limits=LOSS,
    ),
    "acc_hard": Metric(title="accuracy on hard classes", of=accuracy_hard, limits=SHARE),
    "f1_hard": Metric(title="macro-F1 on hard classes", of=f1_hard, limits=SHARE),
    "f1_hard_cells": Metric(title="macro-F1 within hard classes", of=f1_hard_cells, limits=SHARE),
    "masked_loss": Metric(
        title="masked loss",
        higher_is_better=False,
        in_points=False,
        task="pretrain",
        limits=LOSS,
    ),
    "masking_accuracy": Metric(
        title="masking accuracy", in_points=False, task="pretrain", limits=SHARE
    ),
    **{
        name: Metric(
            title=title,
            higher_is_better=higher,
            task="zero_shot",
            limits=SHARE if SHARES.match(name) else (-math.inf, math.inf),
        )
        for name, title, higher in (
            ("avg_bio_oracle", "AvgBIO (oracle)", True),
            ("avg_bio_fixed", "AvgBIO (resolution 1)", True),
            ("avg_bio_label_free", "AvgBIO (label-free)", True),
            ("nmi_oracle", "NMI (oracle)", True),
            ("nmi_fixed", "NMI (resolution 1)", True),
            ("nmi_label_free", "NMI (label-free)", True),
            ("ari_oracle", "ARI (oracle)", True),
            ("ari_fixed", "ARI (resolution 1)", True),
            ("ari_label_free", "ARI (label-free)", True),
            ("ami_oracle", "AMI (oracle)", True),
            ("ami_fixed", "AMI (resolution 1)", True),
            ("ami_label_free", "AMI (label-free)", True),
            ("asw_label", "ASW label", True),
            ("graph_connectivity", "graph connectivity", True),
            ("clisi", "cLISI", True),
            ("knn_accuracy", "15-NN accuracy", True),
            ("knn_macro_f1", "15-NN macro-F1", True),
            ("linear_accuracy", "linear probe accuracy", True),
            ("linear_macro_f1", "linear probe macro-F1", True),
            ("knn_new_batch_accuracy", "15-NN accuracy on a new batch", True),
            ("knn_new_batch_macro_f1", "15-NN macro-F1 on a new batch", True),
            ("linear_new_batch_accuracy", "linear probe accuracy on a new batch", True),
            ("linear_new_batch_macro_f1", "linear probe macro-F1 on a new batch", True),
            ("batch_probe_accuracy", "batch told by 15-NN", False),
            ("batch_probe_majority", "largest batch within labels", False),
            ("batch_probe_excess", "batch told beyond the largest", False),
            ("asw_batch", "ASW batch (50 components)", True),
            ("asw_batch_raw", "ASW batch (all dimensions)", True),
            ("bras", "BRAS (50 components)", True),
            ("bras_raw", "BRAS (all dimensions)", True),
            ("ilisi", "iLISI (50 components)", True),
            ("ilisi_raw", "iLISI (all dimensions)", True),
            ("pcr_batch", "PCR of the batch", False),
            ("pcr_comparison", "PCR comparison", True),
            ("avg_batch", "batch score of the publication", True),
            ("reconstruction_masked_score", "reconstruction of hidden bins", True),
            ("reconstruction_unmasked_score", "reconstruction of shown bins", True),
        )
    },
    **{
        row.name: Metric(
            title=row.title,
            higher_is_better=row.higher_is_better,
            in_points=False,
            task="perturbation",
        )
        for row in PERTURBATION
    },
}
# Those that are shown where there is room for two.
HEADLINE = ("accuracy", "macro_f1")


def title(name: str) -> str:
    """Give the word for a metric; one without a row is called as it is written."""
    return ROWS[name].title if name in ROWS else name.replace("_", " ")


def limits(name: str) -> tuple[float, float]:
    """Give the least and the greatest value that a metric can have."""
    return ROWS[name].limits if name in ROWS else (-math.inf, math.inf)


def lower_is_better(name: str) -> bool:
    """Say whether a small value is a good one."""
    return name in ROWS and not ROWS[name].higher_is_better


def score(
    truth_C: Labels,
    predicted_C: Labels,
    proba_CK: NDArray[np.floating[Any]],
    *,
    labels: str,
    hard: Labels | None = None,
) -> dict[str, float]:
    """Give every metric of classified cells; `labels` chooses the classes of macro averages."""
    calls = Calls(truth_C, predicted_C, proba_CK, labels, hard)
    values = {name: row.of(calls) for name, row in ROWS.items() if row.of is not None}
    return {name: value for name, value in values.items() if value is not None}


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
