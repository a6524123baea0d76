"""What every criterion needs beside its check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from leadline.papers.claims.result import Part, Verdict
from leadline.papers.claims.schema import Family, Setting
from leadline.report.compare.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Context:
    """The numbers, and what the claims as a whole declare."""

    evidence: Evidence
    setting: Setting
    families: Mapping[str, Family]


def not_run(label: str, reason: str, numbers: Mapping[str, float] | None = None) -> Part:
    """Make the part of a check that could not be evaluated."""
    return Part(label=label, verdict=Verdict.NOT_RUN, reason=reason, numbers=numbers or {})
