"""What runs called their reported cells, and McNemar's test of two of them.

Such a test speaks of these two trained models on fresh cells, not of fresh runs.

Shapes: C cells, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from leadline.stats import McNemar

Labels = npt.NDArray[Any]


def mcnemar(a: Facts, b: Facts, runs_dir: Path) -> McNemar:
    """Test whether two runs are right equally often on the same cells.

    Raises
    ------
    UserError
        When predictions are missing or of other cells, or both are right on the same cells.
    """
    truth_C, a_C, b_C = _both(a, b, runs_dir)
    return stats.mcnemar(truth_C, a_C, b_C)


def _both(a: Facts, b: Facts, runs_dir: Path) -> tuple[Labels, Labels, Labels]:
    """Read the truth and both runs' calls as codes of the same names."""
    one, other = (read_reported(*folders_of(facts, runs_dir)) for facts in (a, b))
    truth_a, said_a = one.classes[one.truth_C], one.classes[one.called_C]
    truth_b, said_b = other.classes[other.truth_C], other.classes[other.called_C]
    if not (np.array_equal(one.ids, other.ids) and np.array_equal(truth_a, truth_b)):
        raise UserError(
            "runs must have predicted the same cells to be compared cell by cell",
            got=f"{len(truth_a):,} and {len(truth_b):,} cells, or others of them",
            remedy="compare runs of one split",
        )
    _, codes = np.unique(np.concatenate([truth_a, said_a, said_b]), return_inverse=True)
    truth_C, a_C, b_C = np.split(codes, 3)
    return truth_C, a_C, b_C


@dataclass(frozen=True, slots=True)
class ReportedCalls:
    """Truth, calls and probabilities of the reported cells of a run, in the order of ids.

    Truth and calls are codes of `classes`. `batches` are of the same cells; None where the record
    does not hold them.
    """

    ids: Labels
    truth_C: Labels
    called_C: Labels
    proba_CK: Labels
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
        ids=reported.ids[order],
        truth_C=reported.truth_C[order],
        called_C=reported.predicted_C[order],
        proba_CK=reported.proba_CK[order],
        classes=np.array(classes),
        batches=None if batches is None else replace(batches, code_C=batches.code_C[order]),
    )
