"""The criteria that claims.yaml may name: each turns a check into parts with a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from leadline.papers.boiarsky.counts import count_parts
from leadline.papers.claims.one_arm import range_at_least, spread_below, two_groups, value_within
from leadline.papers.claims.one_arm__claims_series import (
    gap_shrinks_with_fraction,
    rises_with_fraction,
)
from leadline.papers.claims.result import Part, Verdict
from leadline.papers.claims.result__claims_context import Context, not_run
from leadline.papers.claims.schema import Check
from leadline.papers.claims.two_arms import DECISIONS, compare_arms
from leadline.report.compare.evidence import Cell, Evidence, seed_of


def evaluate_check(context: Context, check: Check) -> list[Part]:
    """Evaluate one check; what cannot be evaluated becomes a part that says why."""
    parts = list(CRITERIA[check.criterion](context, check))
    assert parts, f"a check must list cells: {check}"
    return parts


def best_setting(context: Context, check: Check) -> Iterator[Part]:
    """Ask that cross-validation on all labels ranks this C first."""
    for dataset, wanted in check.settings.items():
        label = f"{dataset} C"
        scores = _scores_by_setting(context.evidence, dataset, check.artefact)
        if not scores:
            yield not_run(label, f"no scores of cross-validation for each C on {dataset}")
            continue
        best = max(scores, key=lambda setting: scores[setting])
        second = sorted(scores.values())[-2] if len(scores) > 1 else math.nan
        holds = math.isclose(best, wanted)
        yield Part(
            label=label,
            verdict=Verdict.HOLDS if holds else Verdict.FAILS,
            reason=f"best is C = {best:g} with {scores[best]:.4f}, next {second:.4f}",
            estimate=best,
            numbers={label: best},
        )


def _scores_by_setting(evidence: Evidence, dataset: str, artefact: str) -> dict[float, float]:
    scores = {}
    for arm in evidence.arms(dataset, "logreg"):
        setting = re.fullmatch(r"logreg L1 C=([\d.e+-]+)", arm)
        if setting is None:
            continue
        cell = Cell(dataset, "logreg", arm, 1.0, "accuracy", artefact)
        rows = evidence.rows(cell, ("cross_validation",))
        # Pilots with other splits carry the seed of their split; the search itself has none.
        values = [float(row["value"]) for row in rows if seed_of(row["seed"]) is None]
        if values:
            scores[float(setting.group(1))] = float(np.mean(values))
    return scores


def counts(context: Context, check: Check) -> Iterator[Part]:
    """Numbers that follow from definitions or rows equal, or are ordered as, the claim says."""
    yield from count_parts(context.evidence, check)


def not_checkable(context: Context, check: Check) -> Iterator[Part]:
    """Give the reason why no frame of runs can decide this."""
    yield not_run("not checkable from runs", check.reason)


CRITERIA: Mapping[str, Callable[[Context, Check], Iterator[Part]]] = {
    **dict.fromkeys(DECISIONS, compare_arms),
    "value_within": value_within,
    "range_at_least": range_at_least,
    "spread_below": spread_below,
    "two_groups": two_groups,
    "rises_with_fraction": rises_with_fraction,
    "gap_shrinks_with_fraction": gap_shrinks_with_fraction,
    "best_setting": best_setting,
    "counts_equal": counts,
    "counts_ordered": counts,
    "not_checkable": not_checkable,
}
