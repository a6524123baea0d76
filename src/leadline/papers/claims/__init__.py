"""The paper's checkable claims and known discrepancies as data, and their verdicts.

`evaluate(Evidence.of(frame), load_claims())` judges any frame with the columns of
`report.frame.COLUMNS`; with `boiarsky.aggregates()` as second argument of `Evidence.of`, printed
aggregates stand in where the paper gives no runs. docs/claims.md tells how verdicts come about.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from leadline.papers.claims.one_arm import (
    gap_shrinks_with_fraction,
    range_at_least,
    rises_with_fraction,
    spread_below,
    two_groups,
    value_within,
)
from leadline.papers.claims.result import Context, Part, Raised, Result, Verdict, combine, not_run
from leadline.papers.claims.schema import (
    Check,
    Claim,
    ClaimsFile,
    Discrepancy,
    load_claims,
    load_discrepancies,
)
from leadline.papers.claims.two_arms import DECISIONS, compare_arms
from leadline.papers.claims.worth import Points, worth_of
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.evidence import Evidence, seed_of
from leadline.report.compare.families import adjusted, members, survivors
from leadline.report.compare.pair import compare_pair
from leadline.report.compare.setting import ClaimSettings
from leadline.stats import Flag

__all__ = [
    "Condition",
    "Claim",
    "ClaimsFile",
    "ArmComparison",
    "Discrepancy",
    "Evidence",
    "PValue",
    "Part",
    "Points",
    "Result",
    "ClaimSettings",
    "ArmRuns",
    "Verdict",
    "adjusted",
    "compare_pair",
    "differences",
    "evaluate",
    "evaluate_claim",
    "load_claims",
    "load_discrepancies",
    "members",
    "worth_of",
]


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
        cell = Condition(dataset, "logreg", arm, 1.0, "accuracy", artefact)
        rows = evidence.rows(cell, ("cross_validation",))
        # Pilots with other splits carry the seed of their split; the search itself has none.
        values = [float(row["value"]) for row in rows if seed_of(row["seed"]) is None]
        if values:
            scores[float(setting.group(1))] = float(np.mean(values))
    return scores


def counts(context: Context, check: Check) -> Iterator[Part]:
    """Numbers that follow from definitions or rows equal, or are ordered as, the claim says."""
    from leadline.papers.boiarsky.counts import count_parts

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


SEVERITIES = ("severe", "warning", "note")


def evaluate(
    evidence: Evidence, file: ClaimsFile, discrepancies: Sequence[Discrepancy] = ()
) -> list[Result]:
    """Evaluate every claim of a file on one body of evidence."""
    context = Context(evidence, file.setting, file.families)
    return [evaluate_claim(context, claim, discrepancies) for claim in file.claims]


def evaluate_claim(
    context: Context, claim: Claim, discrepancies: Sequence[Discrepancy] = ()
) -> Result:
    """Evaluate one claim: every part must hold, and the weakest part speaks for it."""
    parts = tuple(part for check in claim.checks for part in evaluate_check(context, check))
    verdict = combine(part.verdict for part in parts)
    weakest = min((part for part in parts if part.verdict is verdict), key=lambda part: part.margin)
    recomputed = {name: value for part in parts for name, value in part.numbers.items()}
    outside = _outside(claim, recomputed)
    flags = _flags(context, claim, parts, outside)
    return Result(
        id=claim.id,
        statement=claim.statement,
        artefact=claim.artefact,
        verdict=verdict,
        reason=_with_what_decides(claim, verdict, _reason(parts, verdict)),
        decided_by=weakest.label,
        estimate=weakest.estimate,
        interval=weakest.interval,
        p=weakest.p,
        fails_under=tuple(dict.fromkeys(test for part in parts for test in part.fails_under)),
        published=claim.published,
        recomputed=recomputed,
        outside_tolerance=tuple(outside),
        flags=tuple(flags),
        discrepancies=tuple(claim.discrepancies),
        reasons=_reasons(claim, flags, discrepancies),
        parts=parts,
    )


def _with_what_decides(claim: Claim, verdict: Verdict, reason: str) -> str:
    """Add to the reason of an open claim what run would decide it."""
    if verdict is not Verdict.NOT_RUN or not claim.decided_by:
        return reason
    return f"decided by {claim.decided_by}; {reason}"


def _reason(parts: Sequence[Part], verdict: Verdict) -> str:
    """Say what decided, part by part; parts that say the same are named together."""
    said: dict[str, list[str]] = {}
    for part in parts:
        if part.verdict is verdict and part.reason:
            said.setdefault(part.reason, []).append(part.label)
    if len(parts) == 1 or verdict is Verdict.HOLDS:
        return "; ".join(said)
    return "; ".join(f"{' and '.join(labels)}: {reason}" for reason, labels in said.items())


def _flags(
    context: Context, claim: Claim, parts: tuple[Part, ...], outside: Sequence[str]
) -> list[Raised]:
    """Gather the flags of the parts, equal ones once, and those that need the whole claim."""
    places: dict[tuple[str, str], list[str]] = {}
    first: dict[tuple[str, str], Flag] = {}
    for part in parts:
        for flag in part.flags:
            places.setdefault((flag.id, flag.sentence), []).append(part.label)
            first.setdefault((flag.id, flag.sentence), flag)
    found = [Raised(flag, tuple(places[key])) for key, flag in first.items()]
    found += [Raised(flag) for flag in _of_the_whole(context, claim, parts, outside)]
    return sorted(found, key=lambda raised: SEVERITIES.index(raised.flag.severity))


def _of_the_whole(
    context: Context, claim: Claim, parts: tuple[Part, ...], outside: Sequence[str]
) -> Iterator[Flag]:
    from leadline.papers.boiarsky.findings import FINDINGS, opposite_directions

    if opposite := opposite_directions(parts, context.setting.alpha):
        yield opposite
    for name in dict.fromkeys(check.family for check in claim.checks if check.family):
        family = context.families[name]
        if left := survivors(context.evidence, name, family, context.setting):
            yield left
    for name in claim.findings:
        yield from FINDINGS[name](context.evidence, [check.a for check in claim.checks])
    if outside:
        sentence = f"farther from the published numbers than tolerated: {', '.join(outside)}"
        yield Flag("outside_tolerance", "warning", sentence)
    if claim.unchecked:
        yield Flag("unchecked", "note", claim.unchecked)


def _outside(claim: Claim, recomputed: Mapping[str, float]) -> list[str]:
    """Name the recomputed numbers that lie farther from the published ones than is tolerated."""
    return [
        label
        for label, printed in claim.published.items()
        if label in recomputed
        and (limit := tolerance_of(claim, label)) is not None
        and abs(recomputed[label] - printed) > limit
    ]


def tolerance_of(claim: Claim, label: str) -> float | None:
    """Give the tolerance of a published number: by its label, else by a word of it.

    A p-value has none: it is reproduced or not.
    """
    if label in claim.tolerance:
        return claim.tolerance[label]
    if label.endswith(", p"):
        return None
    words = label.replace("/", " ").split()
    found = [limit for key, limit in claim.tolerance.items() if set(key.split()) <= set(words)]
    return min(found, default=None) if found else None


def _reasons(
    claim: Claim, flags: Sequence[Raised], discrepancies: Sequence[Discrepancy]
) -> dict[str, str]:
    """Give, for the flags raised, the discrepancies of the claim that explain them."""
    raised = {each.flag.id for each in flags}
    return {
        each.id: each.what
        for each in discrepancies
        if each.id in claim.discrepancies and raised & set(each.flags)
    }


def differences(result: Result) -> dict[str, float]:
    """Give recomputed less published wherever both are known."""
    return {
        label: result.recomputed[label] - printed
        for label, printed in result.published.items()
        if label in result.recomputed and math.isfinite(result.recomputed[label])
    }
