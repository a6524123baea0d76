"""Two runs compared cell by cell: all that can be done where runs do not vary, or are single.

Such a test speaks of these two trained models on fresh cells, not of fresh runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline import stats
from leadline.errors import UserError
from leadline.report.folds import folders_of, predictions
from leadline.report.study import Facts
from leadline.runs import record
from leadline.runs.record import ReportedBatches
from leadline.stats import CellBootstrap, McNemar, metrics

TEST = "cell_bootstrap"
RESAMPLES = 1_000
Labels = npt.NDArray[Any]


def by_cell(a: Facts, b: Facts, metric: str, runs_dir: Path, seed: int) -> CellBootstrap:
    """Bootstrap the reported cells of two runs, the same cells for both.

    Raises
    ------
    UserError
        When predictions are missing, of other cells or all alike, or the metric is none of labels.
    """
    if metric not in ("accuracy", "macro_f1"):
        raise UserError(
            "a comparison cell by cell needs accuracy or macro_f1",
            got=metric,
            remedy="run more seeds",
        )
    truth_C, a_C, b_C, names = _both(a, b, runs_dir)
    scored = _accuracy if metric == "accuracy" else partial(_macro_f1, len(names))
    rng = np.random.default_rng(seed)
    return stats.cell_bootstrap(truth_C, a_C, b_C, scored, rng, resamples=RESAMPLES)


def mcnemar(a: Facts, b: Facts, runs_dir: Path) -> McNemar:
    """Test whether two runs are right equally often on the same cells.

    Raises
    ------
    UserError
        When predictions are missing or of other cells, or both are right on the same cells.
    """
    truth_C, a_C, b_C, _ = _both(a, b, runs_dir)
    return stats.mcnemar(truth_C, a_C, b_C)


def _both(a: Facts, b: Facts, runs_dir: Path) -> tuple[Labels, Labels, Labels, Labels]:
    """Read the truth and both runs' calls as codes of names, and the names."""
    one, other = (read_reported(*folders_of(facts, runs_dir)) for facts in (a, b))
    truth_a, said_a = one.classes[one.truth_C], one.classes[one.called_C]
    truth_b, said_b = other.classes[other.truth_C], other.classes[other.called_C]
    if not (np.array_equal(one.ids, other.ids) and np.array_equal(truth_a, truth_b)):
        raise UserError(
            "runs must have predicted the same cells to be compared cell by cell",
            got=f"{len(truth_a):,} and {len(truth_b):,} cells, or others of them",
            remedy="compare runs of one split",
        )
    names, codes = np.unique(np.concatenate([truth_a, said_a, said_b]), return_inverse=True)
    truth_C, a_C, b_C = np.split(codes, 3)
    return truth_C, a_C, b_C, names


@dataclass(frozen=True, slots=True)
class ReportedCalls:
    """Truth and calls of the reported cells of a run as codes of `classes`, in the order of ids.

    `batches` are of the same cells; None where the record does not hold them.
    """

    ids: Labels
    truth_C: Labels
    called_C: Labels
    classes: Labels
    batches: ReportedBatches | None


def read_reported(*folders: Path) -> ReportedCalls:
    """Read what a run, or the runs of all folds of one seed, called the reported cells.

    Raises
    ------
    UserError
        When the record holds no predictions.
    """
    try:
        reported, classes = predictions(folders)
    except FileNotFoundError as error:
        raise UserError(
            "a comparison over cells needs the predictions of both runs",
            got=f"no {record.PREDICTIONS} in {error.filename or folders[0]}",
            remedy="run it again",
        ) from error
    order = np.argsort(reported.ids, kind="stable")
    batches = reported.batches
    return ReportedCalls(
        reported.ids[order],
        reported.truth_C[order],
        reported.predicted_C[order],
        np.array(classes),
        None if batches is None else replace(batches, code_C=batches.code_C[order]),
    )


def _accuracy(truth_C: Labels, called_C: Labels) -> float:
    return float((truth_C == called_C).mean())


def _macro_f1(count: int, truth_C: Labels, called_C: Labels) -> float:
    """Average over the classes, of so many, that the resampled cells have."""
    confusion_KK = metrics.confusion_matrix(truth_C, called_C, count)
    kept = metrics.averaged_classes(confusion_KK, "truth")
    return float(metrics.precision_recall_f1(confusion_KK)[2, kept].mean())
