"""How near a predicted response is to the measured one: one number per perturbation and metric.

`score` computes every metric, `METRICS` says which way is better, `calibrate` tells on the user's
own data which of them sees more than the average response. A metric that is undefined for a
perturbation is nan there, and `mean_score` counts it as no skill: dropping it would favour
constant predictions.

P perturbations, G genes; y measured, p predicted, m mean training response of the fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from leadline.errors import UserError

Array = NDArray[np.float64]

TOP = 10
# Predictions may have been stored as float32: what is left of p − m then is rounding, not signal.
ROUNDING = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationMetric:
    """One row: name, title, direction, and what an undefined value counts as (nan: never)."""

    name: str
    title: str
    higher_is_better: bool
    no_skill: float = float("nan")
    headline: bool = False


METRICS = (
    PerturbationMetric(name="l2", title="L2", higher_is_better=False, headline=True),
    PerturbationMetric(name="mse", title="MSE", higher_is_better=False),
    PerturbationMetric(name="mae", title="MAE", higher_is_better=False),
    PerturbationMetric(
        name="pearson", title="Pearson, against control", higher_is_better=True, no_skill=0.0
    ),
    PerturbationMetric(name="spearman", title="Spearman", higher_is_better=True, no_skill=0.0),
    PerturbationMetric(
        name="pearson_mean",
        title="Pearson, against the training mean",
        higher_is_better=True,
        no_skill=0.0,
        headline=True,
    ),
    PerturbationMetric(name="wmse", title="weighted MSE", higher_is_better=False, headline=True),
    PerturbationMetric(
        name="r2w_mean",
        title="weighted R², against the training mean",
        higher_is_better=True,
        no_skill=0.0,
    ),
    PerturbationMetric(
        name="discrimination_l1", title="discrimination", higher_is_better=True, headline=True
    ),
    PerturbationMetric(name="centroid_accuracy", title="centroid accuracy", higher_is_better=True),
    PerturbationMetric(
        name="overlap", title="overlap of the top genes", higher_is_better=True, no_skill=0.0
    ),
    PerturbationMetric(
        name="sign", title="sign of the top genes", higher_is_better=True, no_skill=0.5
    ),
    PerturbationMetric(
        name="de_recall", title="recall of changed genes", higher_is_better=True, no_skill=0.0
    ),
)
HEADLINE = tuple(row.name for row in METRICS if row.headline)


def metric_row(name: str) -> PerturbationMetric:
    """Return the row of a metric; `overlap20` and `sign20` are those of 20 genes."""
    for row in METRICS:
        if name == row.name or (row.name in ("overlap", "sign") and _is_top(name, row.name)):
            return row
    raise UserError(
        "A perturbation metric has a name",
        got=repr(name),
        remedy=f"choose one of {', '.join(row.name for row in METRICS)}",
    )


def _is_top(name: str, stem: str) -> bool:
    return name.startswith(stem) and name.removeprefix(stem).isdigit()


def l2(y_PG: Array, p_PG: Array) -> Array:
    """Return ‖y − p‖."""
    return np.asarray(np.linalg.norm(y_PG - p_PG, axis=1))


def mse(y_PG: Array, p_PG: Array) -> Array:
    """Return the mean squared error over genes."""
    return np.asarray(((y_PG - p_PG) ** 2).mean(axis=1))


def mae(y_PG: Array, p_PG: Array) -> Array:
    """Return the mean absolute error over genes."""
    return np.asarray(np.abs(y_PG - p_PG).mean(axis=1))


def pearson(y_PG: Array, p_PG: Array) -> Array:
    """Return the correlation over genes, nan where either side is constant."""
    return _correlation(y_PG, p_PG, _size(y_PG), _size(p_PG))


def spearman(y_PG: Array, p_PG: Array) -> Array:
    """Return the correlation of ranks, ties averaged, nan where either side is constant."""
    flat_P = np.isnan(pearson(y_PG, p_PG))
    ranks_y, ranks_p = rankdata(y_PG, axis=1), rankdata(p_PG, axis=1)
    return np.where(flat_P, np.nan, _correlation(ranks_y, ranks_p, 0.0, 0.0))


def pearson_mean(y_PG: Array, p_PG: Array, m_PG: Array) -> Array:
    """Return the correlation of y − m and p − m; nan for the training mean itself.

    m must be the training mean of the fold: the mean over all perturbations leaks the test set.
    """
    size_y, size_p = np.maximum(_size(y_PG), _size(m_PG)), np.maximum(_size(p_PG), _size(m_PG))
    return _correlation(y_PG - m_PG, p_PG - m_PG, size_y, size_p)


def _size(x_PG: Array) -> Array:
    return np.asarray(np.linalg.norm(x_PG, axis=1))


def _correlation(a_PG: Array, b_PG: Array, size_a: Any, size_b: Any) -> Array:
    """Correlate rows; one that is constant but for the rounding of its size gives nan."""
    a_PG, b_PG = (x - x.mean(axis=1, keepdims=True) for x in (a_PG, b_PG))
    norm_a, norm_b = _size(a_PG), _size(b_PG)
    defined_P = (norm_a > ROUNDING * size_a) & (norm_b > ROUNDING * size_b)
    safe_P = np.where(defined_P, norm_a * norm_b, 1.0)
    value_P = np.einsum("pg,pg->p", a_PG, b_PG) / safe_P
    return np.where(defined_P, np.clip(value_P, -1.0, 1.0), np.nan)


def wmse(y_PG: Array, p_PG: Array, w_PG: Array) -> Array:
    """Return Σ w (y − p)² / Σ w, the error where a perturbation differs from all others."""
    total_P = w_PG.sum(axis=1)
    value_P = (w_PG * (y_PG - p_PG) ** 2).sum(axis=1) / np.where(total_P > 0, total_P, 1.0)
    return np.where(total_P > 0, value_P, np.nan)


def r2w_mean(y_PG: Array, p_PG: Array, m_PG: Array, w_PG: Array) -> Array:
    """Return the weighted share of the variance of y − m that p − m explains."""
    own_PG = y_PG - m_PG
    total_P = w_PG.sum(axis=1)
    centre_P = (w_PG * own_PG).sum(axis=1) / np.where(total_P > 0, total_P, 1.0)
    spread_P = (w_PG * (own_PG - centre_P[:, None]) ** 2).sum(axis=1)
    error_P = (w_PG * (y_PG - p_PG) ** 2).sum(axis=1)
    return np.where(spread_P > 0, 1.0 - error_P / np.where(spread_P > 0, spread_P, 1.0), np.nan)


def nearer_truths(
    y_PG: Array,
    p_PG: Array,
    *,
    distance: str,
    target_P: ArrayLike | None = None,
    threads: int = 2,
) -> Array:
    """Count the other truths that are nearer to each prediction than its own; ties count ½.

    `target_P` is the column of the perturbed gene, left out of the distances of that row, or −1.
    """
    target = np.full(len(y_PG), -1) if target_P is None else np.asarray(target_P, dtype=int)
    squared = distance == "l2"
    y_PG, p_PG = np.ascontiguousarray(y_PG), np.ascontiguousarray(p_PG)

    def block(start: int) -> Array:
        rows = np.arange(start, min(start + 32, len(y_PG)))
        distance_RP = cdist(p_PG[rows], y_PG, "sqeuclidean" if squared else "cityblock")
        with_target = np.flatnonzero(target[rows] >= 0)
        columns = target[rows[with_target]]
        own_RP = np.abs(p_PG[rows[with_target], columns][:, None] - y_PG[:, columns].T)
        distance_RP[with_target] -= own_RP**2 if squared else own_RP
        own_R1 = distance_RP[np.arange(len(rows)), rows][:, None]
        # Equal sums may differ in their last bits.
        tied_RP = np.abs(distance_RP - own_R1) <= 1e-12 * np.abs(own_R1)
        nearer_RP = (distance_RP < own_R1) & ~tied_RP
        return np.asarray(nearer_RP.sum(axis=1) + 0.5 * (tied_RP.sum(axis=1) - 1))

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(block, range(0, len(y_PG), 32))))


def discrimination_l1(y_PG: Array, p_PG: Array, target_P: ArrayLike | None = None) -> Array:
    """Return 1 − (other truths nearer in L1 than its own)/P; blind to the scale of p."""
    return 1.0 - nearer_truths(y_PG, p_PG, distance="l1", target_P=target_P) / len(y_PG)


def centroid_accuracy(y_PG: Array, p_PG: Array) -> Array:
    """Return the share of other truths that are farther in L2 than its own."""
    if len(y_PG) < 2:
        return np.full(len(y_PG), np.nan)
    return 1.0 - nearer_truths(y_PG, p_PG, distance="l2") / (len(y_PG) - 1)


def overlap_top(y_PG: Array, p_PG: Array, k: int = TOP) -> Array:
    """Return the share of the k largest |y| among the k largest |p|; nan for constant p.

    Equal sizes rank by column, which says nothing: a constant p would score by that order alone.
    """
    hit_PG = _top(y_PG, k) & _top(p_PG, k)
    return np.where(_constant(p_PG), np.nan, hit_PG.sum(axis=1) / k)


def sign_top(y_PG: Array, p_PG: Array, k: int = TOP) -> Array:
    """Return the share of the k largest |y| whose sign is right; nan where p is 0 throughout."""
    right_PG = _top(y_PG, k) & (np.sign(y_PG) == np.sign(p_PG))
    return np.where((p_PG == 0).all(axis=1), np.nan, right_PG.sum(axis=1) / k)


def de_recall(p_PG: Array, adjusted_PG: Array, level: float = 0.05) -> Array:
    """Return the share of the N changed genes (adjusted p < level) in the top N of |p|."""
    changed_PG = adjusted_PG < level
    number_P = changed_PG.sum(axis=1)
    order_PG = np.argsort(-np.abs(p_PG), axis=1, kind="stable")
    ranked_PG = np.take_along_axis(changed_PG, order_PG, axis=1)
    first_PG = np.arange(p_PG.shape[1]) < number_P[:, None]
    hits_P = (ranked_PG & first_PG).sum(axis=1)
    undefined_P = _constant(p_PG) | (number_P == 0)
    return np.where(undefined_P, np.nan, hits_P / np.maximum(number_P, 1))


def _constant(x_PG: Array) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(x_PG, axis=1) == 0)


def _top(x_PG: Array, k: int) -> NDArray[np.bool_]:
    if not 1 <= k <= x_PG.shape[1]:
        raise UserError(
            "The top genes are between 1 and all genes",
            got=f"{k} of {x_PG.shape[1]}",
            remedy="ask for fewer",
        )
    chosen = np.zeros(x_PG.shape, dtype=bool)
    order_PK = np.argsort(-np.abs(x_PG), axis=1, kind="stable")[:, :k]
    np.put_along_axis(chosen, order_PK, True, axis=1)
    return chosen


def score(
    truth: ArrayLike,
    predicted: ArrayLike,
    training_mean: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    adjusted_p: ArrayLike | None = None,
    target: ArrayLike | None = None,
    top: int = TOP,
) -> dict[str, Array]:
    """Return every metric that the inputs allow, one value per perturbation.

    Parameters
    ----------
    truth, predicted, training_mean
        (P, G); the mean is that of the training folds of each row.
    weights
        (P, G), from `response_weights`; without them no `wmse` and no `r2w_mean`.
    adjusted_p
        (P, G), Welch p adjusted over the genes; without it no `de_recall`.
    target
        (P,), the column of the perturbed gene, left out of `discrimination_l1`, or −1.
    top
        Number of genes of `overlap` and `sign`.
    """
    y_PG, p_PG, m_PG = (np.asarray(x, dtype=float) for x in (truth, predicted, training_mean))
    extra = [np.asarray(x, dtype=float) for x in (weights, adjusted_p) if x is not None]
    if y_PG.ndim != 2 or {x.shape for x in (p_PG, m_PG, *extra)} != {y_PG.shape}:
        raise UserError(
            "Truth, prediction, training mean and weights have one shape",
            got=", ".join(str(x.shape) for x in (y_PG, p_PG, m_PG, *extra)),
            remedy="give one row for each perturbation and one column for each gene",
        )
    if not np.isfinite(p_PG).all():
        raise UserError(
            "Every prediction is a finite number",
            got=f"{int((~np.isfinite(p_PG)).any(axis=1).sum())} perturbations with nan or inf",
            remedy="predict the training mean where a model has no answer",
        )
    top = min(top, y_PG.shape[1])
    values = {
        "l2": l2(y_PG, p_PG),
        "mse": mse(y_PG, p_PG),
        "mae": mae(y_PG, p_PG),
        "pearson": pearson(y_PG, p_PG),
        "spearman": spearman(y_PG, p_PG),
        "pearson_mean": pearson_mean(y_PG, p_PG, m_PG),
    }
    if weights is not None:
        w_PG = np.asarray(weights, dtype=float)
        values["wmse"] = wmse(y_PG, p_PG, w_PG)
        values["r2w_mean"] = r2w_mean(y_PG, p_PG, m_PG, w_PG)
    values["discrimination_l1"] = discrimination_l1(y_PG, p_PG, target)
    values["centroid_accuracy"] = centroid_accuracy(y_PG, p_PG)
    values[f"overlap{top}"] = overlap_top(y_PG, p_PG, top)
    values[f"sign{top}"] = sign_top(y_PG, p_PG, top)
    if adjusted_p is not None:
        values["de_recall"] = de_recall(p_PG, np.asarray(adjusted_p, dtype=float))
    return values


def with_no_skill(name: str, value_P: Array) -> Array:
    """Count undefined values of a metric as no skill instead of dropping them."""
    return np.where(np.isnan(value_P), metric_row(name).no_skill, value_P)


def mean_score(name: str, value_P: Array) -> float:
    """Average a metric over perturbations, undefined values counted as no skill."""
    return float(with_no_skill(name, value_P).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A metric on the user's data: what the training mean and a technical duplicate reach."""

    name: str
    of_mean: float
    of_duplicate: float

    @property
    def has_vote(self) -> bool:
        """Whether a duplicate of the experiment beats the training mean."""
        if metric_row(self.name).higher_is_better:
            return self.of_duplicate > self.of_mean
        return self.of_duplicate < self.of_mean


def calibrate(
    half: ArrayLike,
    duplicate: ArrayLike,
    training_mean: ArrayLike,
    **options: Any,
) -> dict[str, Calibration]:
    """Score the training mean and the other half of the cells against one half of the cells.

    A metric whose duplicate does not beat the mean cannot tell a perfect model from the average
    response on these data: it has no vote. Options are those of `score`; weights should come from
    cells of neither half, or of the duplicate.
    """
    of_mean = score(half, training_mean, training_mean, **options)
    of_duplicate = score(half, duplicate, training_mean, **options)
    return {
        name: Calibration(
            name=name,
            of_mean=mean_score(name, of_mean[name]),
            of_duplicate=mean_score(name, of_duplicate[name]),
        )
        for name in of_mean
    }


def claim_is_shown(better: Mapping[str, bool], voting: Sequence[str] = HEADLINE) -> bool:
    """Say whether a claim counts as shown: by L2 and at least two of the other three headlines.

    A metric without a vote cannot agree.
    """
    agreeing = [name for name in HEADLINE if name in voting and better.get(name, False)]
    return "l2" in agreeing and len(agreeing) >= 3
