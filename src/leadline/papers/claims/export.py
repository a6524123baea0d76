"""Results as plain objects for JSON: no NaN, no infinity, nothing of ours inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from leadline.papers.claims import differences
from leadline.papers.claims.result import Part, Raised, Result
from leadline.papers.claims.schema import Discrepancy
from leadline.papers.claims.worth import Points
from leadline.stats import Interval


def claim_object(result: Result) -> dict[str, Any]:
    """Give a claim with its verdict, its numbers beside the published ones, and its parts."""
    return {
        "id": result.id,
        "statement": result.statement,
        "artefact": result.artefact,
        "verdict": str(result.verdict),
        "reason": result.reason,
        "decided_by": result.decided_by,
        "estimate": finite(result.estimate),
        "interval": _ends(result.interval),
        "interval_method": None if result.interval is None else result.interval.method,
        "p": _numbers(result.p),
        "fails_under": list(result.fails_under),
        "published": _numbers(result.published),
        "recomputed": _numbers(result.recomputed),
        "difference": _numbers(differences(result)),
        "flags": [_flag(raised) for raised in result.flags],
        "discrepancies": list(result.discrepancies),
        "explained_by": dict(result.reasons),
        "parts": [_part(part) for part in result.parts],
    }


def discrepancy_object(discrepancy: Discrepancy, worth: Sequence[Points]) -> dict[str, Any]:
    """Give a discrepancy with the setting that realises either side and what it is worth."""
    return {
        "id": discrepancy.id,
        "weight": discrepancy.weight,
        "status": discrepancy.status,
        "what": discrepancy.what,
        "evidence": discrepancy.evidence,
        "consequence": discrepancy.consequence,
        "switch": [
            {
                "key": switch.key,
                "code": switch.code,
                "prose": switch.prose,
                "upstream": switch.upstream,
                "corrected": switch.corrected,
            }
            for switch in discrepancy.switch
        ]
        or None,
        "switch_reason": discrepancy.switch_reason or None,
        "worth_points": [{"what": each.what, "points": finite(each.points)} for each in worth]
        or None,
        "worth_reason": discrepancy.worth_reason or None,
    }


def finite(value: float | None) -> float | None:
    """Give a number that JSON knows, else None."""
    return value if value is not None and math.isfinite(value) else None


def _part(part: Part) -> dict[str, Any]:
    return {
        "label": part.label,
        "verdict": str(part.verdict),
        "reason": part.reason,
        "estimate": finite(part.estimate),
        "interval": _ends(part.interval),
        "p": _numbers(part.p),
        "fails_under": list(part.fails_under),
        "undecided": list(part.undecided),
    }


def _flag(raised: Raised) -> dict[str, Any]:
    return {
        "id": raised.flag.id,
        "severity": raised.flag.severity,
        "sentence": raised.flag.sentence,
        "parts": list(raised.parts),
        "numbers": _numbers(raised.flag.numbers),
    }


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [finite(interval.low), finite(interval.high)]


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: finite(value) for name, value in values.items()}
