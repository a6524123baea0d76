"""Predictions of unseen knock-outs of a study: the scores of each arm, and differences of arms.

All arms of a place have the same perturbations in the same folds, so they are compared
perturbation by perturbation. Folds share training perturbations: they count by the test of Nadeau
and Bengio, never as that many observations.

P perturbations, F folds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline import stats
from leadline.report.compare.arms import starts_from_weights
from leadline.report.study import Facts, StudyResults
from leadline.stats import metrics
from leadline.stats.embedding_differences import RunDraws, embedding_difference
from leadline.stats.perturbation_floors import (
    FLOOR_TITLES,
    TRAIN_MEAN,
    nadeau_bengio,
    paired_bootstrap,
)
from leadline.stats.perturbation_metrics import HEADLINE, claim_is_shown, with_no_skill

Floats = NDArray[np.float64]
ALPHA = 0.05
# What the record of such a run holds beside its predictions.
SCORES = "perturbation_scores.npz"
HEADS = {"knn": "nearest neighbours", "lasso": "Lasso"}
PRETRAINING, FLOOR, OTHER = "worth of pretraining", "over the floor", "against another arm"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnockoutArm:
    """The runs of one arm on one screen and head, or a floor of it (without runs of its own)."""

    name: str
    model: str
    place: str
    runs: tuple[Facts, ...]
    scores: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    floor: str = ""

    @property
    def pretrained(self) -> bool:
        """Say whether its network starts from weights."""
        return starts_from_weights(self.settings)

    @property
    def fold_P(self) -> NDArray[np.int64]:
        """Give the fold of each perturbation."""
        return np.asarray(self.scores[0]["fold"])

    @property
    def has_vector_P(self) -> NDArray[np.bool_]:
        """Mark perturbations with a vector in every run; a floor has them all."""
        if self.floor:
            return np.ones(len(self.fold_P), dtype=bool)
        return np.all([each["has_vector"] for each in self.scores], axis=0)

    def of_runs(self, metric: str) -> list[Floats]:
        """Give one score a perturbation of each run; what is undefined counts as no skill."""
        key = f"floor_{self.floor}_{metric}" if self.floor else f"model_{metric}"
        found = [np.asarray(each[key]) for each in self.scores if key in each]
        return [with_no_skill(metric, x) if np.isnan(x).any() else x for x in found]

    def values_P(self, metric: str) -> Floats:
        """Average the runs."""
        return np.asarray(np.mean(self.of_runs(metric), axis=0))

    def mean(self, metric: str) -> float | None:
        """Average a score over perturbations and runs; None where it is not there."""
        found = self.of_runs(metric)
        return float(np.mean(found)) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDifference:
    """One metric of one arm less that of another on all perturbations.

    `has_vote` says whether a duplicate of the experiment beats the train mean under the metric;
    `won` counts folds in which the arm is the better one, `p_folds` is Nadeau and Bengio's.
    """

    a: KnockoutArm
    b: KnockoutArm
    metric: str
    asks: str
    estimate: float
    low: float
    high: float
    p: float
    won: int
    folds: int
    p_folds: float
    has_vote: bool
    corrected: float | None = None

    @property
    def verdict(self) -> str:
        """Say which is better, that neither is shown to be, or that the metric cannot tell."""
        if self.corrected is None:
            return "untested"
        if self.corrected >= ALPHA:
            return "open"
        higher = self.estimate > 0
        return "better" if higher is not metrics.lower_is_better(self.metric) else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnockoutClaim:
    """That one arm is better than another: shown by L2 and two of the other headline metrics.

    `on_common` is the L2 difference where both have a vector for the gene.
    """

    parts: tuple[MetricDifference, ...]
    on_common: float | None
    common: int

    @property
    def first(self) -> MetricDifference:
        """Give the difference in L2."""
        return next(each for each in self.parts if each.metric == "l2")

    def agreeing(self, verdict: str = "better") -> list[str]:
        """List the metrics with a vote that say so."""
        return [each.metric for each in self.parts if each.has_vote and each.verdict == verdict]

    @property
    def verdict(self) -> str:
        """Say what is shown of the first arm: better, worse, or neither (open)."""
        voting = [each.metric for each in self.parts if each.has_vote]
        for word in ("better", "worse"):
            if claim_is_shown(dict.fromkeys(self.agreeing(word), True), voting):
                return word
        return "open"


def arms_of(study: StudyResults, runs: Iterable[Facts]) -> list[KnockoutArm]:
    """Gather the runs of each arm on each screen and head, in the order of the study."""
    grouped: dict[tuple[str, str, str], list[tuple[Facts, Mapping[str, Any]]]] = {}
    for facts in runs:
        scores = read_scores(study, facts)
        head = HEADS[facts["fit"]["perturbation"]["head"]]
        place = f"{facts['dataset']}, {head}"
        told = repr((scores["perturbations"].tolist(), scores["fold"].tolist()))
        digest = hashlib.sha256(told.encode()).hexdigest()[:6]
        grouped.setdefault((place, digest, str(facts["arm"])), []).append((facts, scores))
    several = {place for place, _, _ in grouped
               if len({d for p, d, _ in grouped if p == place}) > 1}  # fmt: skip
    return [
        KnockoutArm(
            name=arm,
            model=str(found[0][0]["model"]),
            place=f"{place} ({digest})" if place in several else place,
            runs=tuple(facts for facts, _ in found),
            scores=tuple(scores for _, scores in found),
            settings=study.configs.get(found[0][0]["run_id"], {}),
        )
        for (place, digest, arm), found in grouped.items()
    ]


def read_scores(study: StudyResults, facts: Facts) -> dict[str, Any]:
    """Read one score a perturbation of a run, its floors and ceilings."""
    path = study.runs_dir / facts["run_id"] / SCORES
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def floors_of(arm: KnockoutArm) -> list[KnockoutArm]:
    """Give the floors that stand in an arm's record, as arms."""
    names = [name for name in FLOOR_TITLES if f"floor_{name}_l2" in arm.scores[0]]
    return [
        replace(arm, name=FLOOR_TITLES[name], runs=(), scores=arm.scores[:1], floor=name)
        for name in names
    ]


def votes_of(arm: KnockoutArm) -> dict[str, bool]:
    """Say of each metric whether a duplicate of the experiment beats the train mean."""
    told = arm.runs[0]["fit"]["perturbation"]["calibration"]
    return {name: bool(row["has_vote"]) for name, row in told.items()}


def claims(study: StudyResults, arms: Sequence[KnockoutArm]) -> list[KnockoutClaim]:
    """Compare each arm with the train mean and as the study declares; Holm over each place."""
    found: list[KnockoutClaim] = []
    for place in dict.fromkeys(arm.place for arm in arms):
        here = {arm.name: arm for arm in arms if arm.place == place}
        votes = votes_of(next(iter(here.values())))
        pairs = [(arm, floor_named(arm, TRAIN_MEAN), FLOOR) for arm in here.values()]
        declared = [pair for pair in study.pairs if pair[0] in here and pair[1] in here]
        for a, b in dict.fromkeys(declared):
            pairs.append((here[a], here[b], question_of(here[a], here[b])))
        found += corrected([_compared(*pair, votes) for pair in pairs])
    return found


def floor_named(arm: KnockoutArm, name: str) -> KnockoutArm:
    """Give one floor of an arm's record."""
    return next(each for each in floors_of(arm) if each.floor == name)


def question_of(a: KnockoutArm, b: KnockoutArm) -> str:
    """Say what a pair of arms asks."""
    same = a.model == b.model and a.pretrained and not b.pretrained
    return PRETRAINING if same else OTHER


def _compared(
    a: KnockoutArm, b: KnockoutArm, asks: str, votes: Mapping[str, bool]
) -> KnockoutClaim:
    parts = [
        compared(a, b, metric, asks, votes.get(metric, False))
        for metric in HEADLINE
        if a.of_runs(metric) and b.of_runs(metric)
    ]
    both_P = a.has_vector_P & b.has_vector_P
    apart_P = a.values_P("l2") - b.values_P("l2")
    on_common = float(apart_P[both_P].mean()) if both_P.any() else None
    return KnockoutClaim(parts=tuple(parts), on_common=on_common, common=int(both_P.sum()))


def compared(
    a: KnockoutArm, b: KnockoutArm, metric: str, asks: str, has_vote: bool
) -> MetricDifference:
    """Compare two arms by one metric: over perturbations, and by folds.

    Where an arm has several runs (random weights), their spread is added to the interval.
    """
    left, right = a.of_runs(metric), b.of_runs(metric)
    apart_P = a.values_P(metric) - b.values_P(metric)
    found = paired_bootstrap(apart_P, seed=0)
    estimate, low, high, p = found.estimate, found.low, found.high, found.p
    if max(len(left), len(right)) > 1:
        sides = (
            [RunDraws(value=float(x.mean()), draws=x, over_cells=True) for x in side]
            for side in (left, right)
        )
        spread = embedding_difference(*sides)
        if spread.interval is not None and spread.p is not None:
            low, high, p = spread.interval.low, spread.interval.high, spread.p
    fold_P = a.fold_P
    of_fold_F = np.array([apart_P[fold_P == fold].mean() for fold in np.unique(fold_P)])
    sign = -1 if metrics.lower_is_better(metric) else 1
    return MetricDifference(
        a=a,
        b=b,
        metric=metric,
        asks=asks,
        estimate=estimate,
        low=low,
        high=high,
        p=p,
        won=int((sign * of_fold_F > 0).sum()),
        folds=len(of_fold_F),
        p_folds=nadeau_bengio(of_fold_F).p,
        has_vote=has_vote,
    )


def corrected(found: Sequence[KnockoutClaim]) -> list[KnockoutClaim]:
    """Correct by Holm over all comparisons and all headline metrics that have a vote."""
    family = {
        f"{at} {part.metric}": part.p
        for at, claim in enumerate(found)
        for part in claim.parts
        if part.has_vote
    }
    adjusted = stats.holm(family) if family else {}
    return [
        replace(
            claim,
            parts=tuple(
                replace(part, corrected=adjusted.get(f"{at} {part.metric}")) for part in claim.parts
            ),
        )
        for at, claim in enumerate(found)
    ]
