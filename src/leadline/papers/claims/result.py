"""What comes of a claim: its verdict, and the parts that made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from leadline.report.compare.evidence import Evidence
from leadline.report.compare.setting import ClaimSettings, Family
from leadline.stats import Flag, Interval


class Verdict(StrEnum):
    """What became of a claim.

    `fragile`: holds under the paper's own criterion and fails under at least one better test.
    """

    HOLDS = "holds"
    FAILS = "fails"
    FRAGILE = "fragile"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One cell of a claim.

    `numbers` are the recomputed quantities by label, as `published` of the claim names them;
    `fails_under` names the better tests that contradict, `undecided` those that what is known of
    the runs leaves open. The smaller `margin`, the closer the part is to another verdict.
    """

    label: str
    verdict: Verdict
    reason: str = ""
    estimate: float | None = None
    interval: Interval | None = None
    p: Mapping[str, float] = field(default_factory=dict)
    fails_under: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Raised:
    """A flag and the parts of the claim that raised it; none for one of the whole claim."""

    flag: Flag
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A claim with its verdict; estimate, interval and p are those of the part that decided."""

    id: str
    statement: str
    artefact: str
    verdict: Verdict
    reason: str
    decided_by: str
    estimate: float | None
    interval: Interval | None
    p: Mapping[str, float]
    fails_under: tuple[str, ...]
    published: Mapping[str, float]
    recomputed: Mapping[str, float]
    outside_tolerance: tuple[str, ...]
    flags: tuple[Raised, ...]
    discrepancies: tuple[str, ...]
    reasons: Mapping[str, str]
    parts: tuple[Part, ...]


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Give the verdict of the whole: one failure fails it, one part missing leaves it open."""
    found = set(verdicts)
    for verdict in (Verdict.FAILS, Verdict.NOT_RUN, Verdict.FRAGILE):
        if verdict in found:
            return verdict
    return Verdict.HOLDS if found else Verdict.NOT_RUN


@dataclass(frozen=True, slots=True)
class Context:
    """The numbers, and what the claims as a whole declare."""

    evidence: Evidence
    setting: ClaimSettings
    families: Mapping[str, Family]


def not_run(label: str, reason: str, numbers: Mapping[str, float] | None = None) -> Part:
    """Make the part of a check that could not be evaluated."""
    return Part(label=label, verdict=Verdict.NOT_RUN, reason=reason, numbers=numbers or {})
