"""What each held-out cell does to a metric: leave-one-out influences of the runs of one arm.

A metric f of N cells has influences z_i = (N - 1)(f - f without cell i); their variance over cells
divided by N is the variance of f over fresh test sets (the jackknife). They are computed once for
an arm and a metric; every comparison of that arm then is a difference of vectors.

Shapes: R runs (or rows: averages over runs), N cells, K classes, D donors, U units (cells, or
blocks of cells where a metric is left out block by block).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Score = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]
ClassScore = Callable[[Floats, Floats, Floats], Floats]

RELATIVE_ZERO = 1e-12
FEWEST_BLOCKS = 100


def _recall(hit: Floats, true: Floats, called: Floats) -> Floats:
    return hit / np.maximum(true, 1)


def _precision(hit: Floats, true: Floats, called: Floats) -> Floats:
    return hit / np.maximum(called, 1)


def _f1(hit: Floats, true: Floats, called: Floats) -> Floats:
    return 2 * hit / np.maximum(true + called, 1)


# Score of one class from its hits, its cells and its calls; the metric is the mean over classes
# that have held-out cells, of both arms the same ones.
CLASS_AVERAGES: dict[str, ClassScore] = {
    "balanced_accuracy": _recall,
    "macro_f1": _f1,
    "macro_precision": _precision,
    "macro_recall": _recall,
}
METRICS = ("accuracy", *CLASS_AVERAGES)


@dataclass(frozen=True, kw_only=True)
class Influences:
    """Scores of the rows of one arm on one test set, and what each cell and donor does to them.

    Attributes
    ----------
    step
        The most that one cell can move the metric; the floor of an equivalence claim.
    without_RD
        Scores without the cells of each donor; width 0 where there are fewer than two donors.
    donor_share_D
        Share of the cells that each donor has.
    class_sizes
        Held-out cells of each class of a class average, by class; empty for other metrics.
    identical
        Whether two or more runs were given and all of them call every cell alike.
    """

    metric: str
    scores_R: Floats
    z_RU: Floats
    step: float
    cells: int
    without_RD: Floats
    donor_share_D: Floats
    class_sizes: dict[Any, int]
    identical: bool = False
    higher_is_better: bool = True

    @property
    def rows(self) -> int:
        """How many rows the arm has: runs, or labelled subsets."""
        return len(self.scores_R)

    @property
    def donors(self) -> int:
        """How many held-out donors there are to leave out; 0 where donors are no unit."""
        return self.without_RD.shape[1]

    @cached_property
    def mean_z_U(self) -> Floats:
        """Influence on the mean over rows."""
        return self.z_RU.mean(axis=0)

    @cached_property
    def interaction(self) -> float:
        """Variance of the mean over rows that is run x cell noise."""
        return interaction_variance(self.z_RU)

    @cached_property
    def mean_without_D(self) -> Floats:
        """Mean over rows of the scores without each donor."""
        return self.without_RD.mean(axis=0)


def nothing_like(arm: Influences) -> Influences:
    """Give an arm that scores 0 whatever the cells: a comparison with it is of one arm alone."""
    return replace(
        arm,
        scores_R=np.zeros(1),
        z_RU=np.zeros((1, arm.z_RU.shape[1])),
        without_RD=np.zeros((1, arm.donors)),
        identical=False,
    )


def interaction_variance(z_RU: Floats) -> float:
    """Variance that run x cell noise gives to the mean of a rows x cells layout; 0 for one row."""
    rows, units = z_RU.shape
    if rows < 2:
        return 0.0
    residual_RU = z_RU - z_RU.mean(axis=0) - z_RU.mean(axis=1, keepdims=True) + z_RU.mean()
    return float((residual_RU**2).sum() / ((rows - 1) * (units - 1)) / (rows * units))


def influences(
    truth_N: npt.ArrayLike,
    preds_RN: npt.ArrayLike,
    metric: str = "accuracy",
    *,
    named: Sequence[Any] | None = None,
    donors_N: npt.ArrayLike | None = None,
) -> Influences:
    """Compute the influences of every run of one arm on a metric of hard calls.

    Parameters
    ----------
    metric
        One of `METRICS`. With `named`, `accuracy` counts the cells of those classes alone, and a
        class average is taken over those classes alone: `macro_f1` of one named class is its F1.
    donors_N
        Donor of each cell, where donors are held out whole.

    Raises
    ------
    UserError
        When the arrays do not fit together, or the metric has no such form.
    """
    truth, preds = _checked(truth_N, preds_RN)
    donors = None if donors_N is None else _checked_donors(donors_N, truth.size)
    if metric == "accuracy":
        if named is not None:
            kept = np.isin(truth, list(named))
            _refuse_no_cells(int(kept.sum()), named)
            truth, preds = truth[kept], preds[:, kept]
            donors = None if donors is None else donors[kept]
        right_RN = (preds == truth).astype(np.float64)
        found = _of_means(right_RN, donors, metric="accuracy", step=1 / truth.size)
    elif metric in CLASS_AVERAGES:
        found = _of_classes(truth, preds, metric, named, donors)
    else:
        raise UserError(
            "influences on hard calls are known for some metrics",
            got=repr(metric),
            remedy=f"choose one of {', '.join(METRICS)}, or use block_influences",
        )
    return replace(found, identical=len(preds) > 1 and bool((preds == preds[0]).all()))


def mean_influences(
    values_RN: npt.ArrayLike,
    *,
    metric: str = "log_loss",
    donors_N: npt.ArrayLike | None = None,
    higher_is_better: bool = False,
    step: float | None = None,
) -> Influences:
    """Compute the influences on a mean over cells, such as the log loss, from each cell's value.

    Parameters
    ----------
    step
        The most that one cell can move the mean; left out, the range of the values over N, which
        is the best known for a loss without an upper end.
    """
    values = np.asarray(values_RN, dtype=np.float64)
    _refuse_shape(values, "values")
    if not np.isfinite(values).all():
        raise UserError(
            "the value of every cell must be finite",
            got=f"{int((~np.isfinite(values)).sum())} NaN or infinite of {values.size}",
            remedy="clip probabilities away from 0 before taking logarithms",
        )
    donors = None if donors_N is None else _checked_donors(donors_N, values.shape[1])
    known = float(np.ptp(values)) / values.shape[1] if step is None else step
    found = _of_means(values, donors, metric=metric, step=known)
    same = len(values) > 1 and bool((values == values[0]).all())
    return replace(found, identical=same, higher_is_better=higher_is_better)


def random_blocks(
    cells: int, random: np.random.Generator, count: int = 2 * FEWEST_BLOCKS
) -> npt.NDArray[np.int64]:
    """Deal cells into blocks of equal size, at least 100; one block a cell where cells are few.

    All arms of a study must use the same blocks.
    """
    if count < FEWEST_BLOCKS:
        raise UserError(
            "leaving out block by block needs enough blocks",
            got=f"{count}",
            remedy=f"ask for at least {FEWEST_BLOCKS}",
        )
    return random.permutation(np.arange(cells) % min(count, cells)).astype(np.int64)


def block_influences(
    truth_N: npt.ArrayLike,
    preds_RN: npt.ArrayLike,
    score: Score,
    block_N: npt.ArrayLike,
    *,
    metric: str = "custom",
    donors_N: npt.ArrayLike | None = None,
    higher_is_better: bool = True,
) -> Influences:
    """Compute influences of blocks of cells on any smooth metric, scoring without each block.

    `block_N` from `random_blocks`, or `range(N)` for leave-one-out in full.
    """
    truth, preds = _checked(truth_N, preds_RN)
    blocks = np.unique(_per_cell(block_N, truth.size, "blocks"), return_inverse=True)[1]
    donors = None if donors_N is None else _checked_donors(donors_N, truth.size)
    units = int(blocks.max()) + 1
    if units < 2:
        raise UserError("leaving out needs two blocks", got="one", remedy="use random_blocks")
    scores_R = np.array([score(truth, calls) for calls in preds], dtype=np.float64)
    left_RU = _scores_without(truth, preds, score, blocks, units)
    z_RU = (units - 1) * (scores_R[:, None] - left_RU)
    share_D, without_RD = _no_donors(len(preds))
    if donors is not None and donors.max() > 0:
        share_D = np.bincount(donors) / truth.size
        without_RD = _scores_without(truth, preds, score, donors, share_D.size)
    return Influences(
        metric=metric,
        scores_R=scores_R,
        z_RU=z_RU,
        step=float(np.abs(scores_R[:, None] - left_RU).max()),
        cells=truth.size,
        without_RD=without_RD,
        donor_share_D=share_D,
        class_sizes={},
        identical=len(preds) > 1 and bool((preds == preds[0]).all()),
        higher_is_better=higher_is_better,
    )


def average_subsets(arm: Influences, subset_R: npt.ArrayLike) -> tuple[Influences, list[Any]]:
    """Average scores and influences over the seeds of each labelled subset: subsets are the rows.

    With one subset alone the rows stay seeds; what is said then holds "with this labelled subset".

    Returns
    -------
    tuple
        The arm, and its subsets in the order of its rows (empty where rows stayed seeds).
    """
    subsets = np.asarray(subset_R)
    if subsets.shape != (arm.rows,):
        raise UserError(
            "every run must name its labelled subset",
            got=f"{subsets.shape} subsets for {arm.rows} runs",
            remedy="pass one subset per run",
        )
    names, code_R = np.unique(subsets, return_inverse=True)
    if names.size == 1:
        return arm, []
    weight_SR = (code_R == np.arange(names.size)[:, None]).astype(np.float64)
    weight_SR /= weight_SR.sum(axis=1, keepdims=True)
    averaged = replace(
        arm,
        scores_R=weight_SR @ arm.scores_R,
        z_RU=weight_SR @ arm.z_RU,
        without_RD=weight_SR @ arm.without_RD,
    )
    return averaged, names.tolist()


# --- means over cells --------------------------------------------------------------------------
def _of_means(values_RN: Floats, donors: Ints | None, *, metric: str, step: float) -> Influences:
    rows, cells = values_RN.shape
    scores_R = values_RN.mean(axis=1)
    share_D, without_RD = _no_donors(rows)
    if donors is not None:
        donors = np.unique(donors, return_inverse=True)[1]
        count_D = np.bincount(donors)
        if count_D.size > 1:
            share_D = count_D / cells
            sum_RD = np.stack([np.bincount(donors, row) for row in values_RN])
            left_D = cells - count_D
            without_RD = (values_RN.sum(axis=1, keepdims=True) - sum_RD) / left_D
    return Influences(
        metric=metric,
        scores_R=scores_R,
        z_RU=values_RN - scores_R[:, None],
        step=step,
        cells=cells,
        without_RD=without_RD,
        donor_share_D=share_D,
        class_sizes={},
    )


# --- averages over classes ---------------------------------------------------------------------
def _of_classes(
    truth: npt.NDArray[Any],
    preds: npt.NDArray[Any],
    metric: str,
    named: Sequence[Any] | None,
    donors: Ints | None,
) -> Influences:
    classes, code_N, code_RN = _codes(truth, preds)
    size_K = np.bincount(code_N, minlength=len(classes))
    counted_K = size_K > 0
    if named is not None:
        counted_K = counted_K & np.isin(classes, list(named))
        _refuse_no_cells(int(counted_K.sum()), named)
    rule = CLASS_AVERAGES[metric]
    scores, z = np.empty(len(preds)), np.empty(preds.shape)
    for row, calls in enumerate(code_RN):
        scores[row], change_KK = _without_one(code_N, calls, len(classes), rule, counted_K)
        z[row] = (truth.size - 1) * change_KK[code_N, calls]
    share_D, without_RD = _no_donors(len(preds))
    if donors is not None and donors.max() > 0:
        share_D = np.bincount(donors) / truth.size
        without_RD = np.stack(
            [_without_donors(code_N, calls, donors, rule, counted_K) for calls in code_RN]
        )
    sizes = {classes[k].item(): int(size_K[k]) for k in np.flatnonzero(counted_K)}
    return Influences(
        metric=metric,
        scores_R=scores,
        z_RU=z,
        step=1 / (len(sizes) * min(sizes.values())),
        cells=truth.size,
        without_RD=without_RD,
        donor_share_D=share_D,
        class_sizes=sizes,
    )


def _without_one(
    truth: Ints, calls: Ints, n_classes: int, rule: ClassScore, counted_K: npt.NDArray[np.bool_]
) -> tuple[float, Floats]:
    """Score, and score less the score without one cell, by that cell's (true, called) classes."""
    hit = np.bincount(truth[truth == calls], minlength=n_classes).astype(np.float64)
    true = np.bincount(truth, minlength=n_classes).astype(np.float64)
    called = np.bincount(calls, minlength=n_classes).astype(np.float64)
    score_K = np.where(counted_K, rule(hit, true, called), 0.0)
    n = int(counted_K.sum())
    score = float(score_K.sum() / n)
    fewer_true = np.where(counted_K, rule(hit, np.maximum(true - 1, 0), called), 0.0)
    fewer_called = np.where(counted_K, rule(hit, true, np.maximum(called - 1, 0)), 0.0)
    fewer_hits = np.where(
        counted_K, rule(np.maximum(hit - 1, 0), true - 1, np.maximum(called - 1, 0)), 0.0
    )
    loss_true, loss_called = score_K - fewer_true, score_K - fewer_called
    change = (loss_true[:, None] + loss_called[None, :]) / n
    np.fill_diagonal(change, (score_K - fewer_hits) / n)
    # The last cell of a class takes the class out of the average. Of a metric over that class
    # alone nothing is left; the score is then taken to stay as it was.
    for k in np.flatnonzero(counted_K & (true == 1)):
        if n == 1:
            change[k] = 0.0
            continue
        rest = score_K.sum() - score_K[k] - loss_called
        rest[k] = score_K.sum() - score_K[k]
        change[k] = score - rest / (n - 1)
    return score, change


def _without_donors(
    truth: Ints, calls: Ints, donors: Ints, rule: ClassScore, counted_K: npt.NDArray[np.bool_]
) -> Floats:
    n_donors, n_classes = int(donors.max()) + 1, counted_K.size

    def left(kept: npt.NDArray[np.bool_] | slice, codes: Ints) -> Floats:
        place = donors[kept] * n_classes + codes[kept]
        count = np.bincount(place, minlength=n_donors * n_classes).reshape(n_donors, n_classes)
        return (count.sum(axis=0) - count).astype(np.float64)

    everything = slice(None)
    hit_DK, true_DK = left(truth == calls, truth), left(everything, truth)
    score_DK = rule(hit_DK, true_DK, left(everything, calls))
    there_DK = counted_K & (true_DK > 0)
    classes_D = there_DK.sum(axis=1)
    if not classes_D.all():
        raise UserError(
            "the classes of a metric must have cells without any one donor",
            got=f"a donor that holds all of them, of {n_donors} donors",
            remedy="name more classes, or speak of these donors only (donors=None)",
        )
    averaged: Floats = (score_DK * there_DK).sum(axis=1) / classes_D
    return averaged


# --- doors -------------------------------------------------------------------------------------
def _scores_without(
    truth: npt.NDArray[Any], preds: npt.NDArray[Any], score: Score, code_N: Ints, count: int
) -> Floats:
    left = np.empty((len(preds), count))
    for unit in range(count):
        kept = code_N != unit
        left[:, unit] = [score(truth[kept], calls[kept]) for calls in preds]
    return left


def _no_donors(rows: int) -> tuple[Floats, Floats]:
    return np.empty(0), np.empty((rows, 0))


def _checked(
    truth_N: npt.ArrayLike, preds_RN: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    truth, preds = np.asarray(truth_N), np.asarray(preds_RN)
    if preds.ndim == 1:
        preds = preds[None]
    _refuse_shape(preds, "predictions")
    if truth.shape != preds.shape[1:]:
        raise UserError(
            "truth and predictions must be of the same cells",
            got=f"{truth.shape} true classes and predictions of shape {preds.shape}",
            remedy="pass predictions as runs x cells, in the order of the truth",
        )
    return truth, preds


def _refuse_shape(values: npt.NDArray[Any], name: str) -> None:
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise UserError(
            f"{name} must be runs x cells, of one run and two cells at least",
            got=f"an array of shape {values.shape}",
            remedy="pass one row per run and one column per held-out cell",
        )


def _refuse_no_cells(cells: int, named: Sequence[Any]) -> None:
    if cells < 1:
        raise UserError(
            "named classes must have held-out cells",
            got=f"none of {', '.join(map(str, named))}",
            remedy="name classes of the truth",
        )


def _per_cell(values_N: npt.ArrayLike, cells: int, name: str) -> npt.NDArray[Any]:
    values = np.asarray(values_N)
    if values.shape != (cells,):
        raise UserError(
            f"{name} must be one per cell",
            got=f"{values.shape} for {cells} cells",
            remedy="pass them in the order of the truth",
        )
    return values


def _checked_donors(donors_N: npt.ArrayLike, cells: int) -> Ints:
    codes: Ints = np.unique(_per_cell(donors_N, cells, "donors"), return_inverse=True)[1]
    return codes


def _codes(truth: npt.NDArray[Any], preds: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Ints, Ints]:
    """Class codes from 0, and the classes that they stand for."""
    if truth.dtype.kind in "iu" and preds.dtype.kind in "iu":
        low = min(int(truth.min()), int(preds.min()))
        high = max(int(truth.max()), int(preds.max()))
        if low >= 0 and high < 1000:
            return np.arange(high + 1), truth.astype(np.int64), preds.astype(np.int64)
    classes, codes = np.unique(np.concatenate([truth[None], preds]), return_inverse=True)
    codes = codes.reshape(-1, truth.size)
    return classes, codes[0], codes[1:]
