"""The paper's checkable claims and known discrepancies as data, and their verdicts.

`evaluate(Evidence.of(frame), load_claims())` judges any frame with the columns of
`report.frame.COLUMNS`; with `boiarsky.aggregates()` as second argument of `Evidence.of`, printed
aggregates stand in where the paper gives no runs. docs/claims.md tells how verdicts come about.
"""

from leadline.papers.claims.evaluate import differences, evaluate, evaluate_claim
from leadline.papers.claims.result import Part, Result, Verdict
from leadline.papers.claims.schema import (
    Claim,
    ClaimsFile,
    Discrepancy,
    load_claims,
    load_discrepancies,
)
from leadline.papers.claims.worth import Points, worth_of
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.families import adjusted, members
from leadline.report.compare.pair import compare_pair
from leadline.report.compare.setting import ClaimSettings

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
