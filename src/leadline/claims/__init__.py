"""The paper's checkable claims and known discrepancies as data, and their verdicts.

`evaluate(Evidence.of(frame), load_claims())` judges any frame with the columns of
`results.COLUMNS`; with `published.tables()` as second argument of `Evidence.of`, printed
aggregates stand in where the paper gives no runs. docs/claims.md tells how verdicts come about.
"""

from leadline.claims.difference import difference
from leadline.claims.evaluate import differences, evaluate, evaluate_claim
from leadline.claims.evidence import Cell, Evidence, Side
from leadline.claims.families import adjusted, members
from leadline.claims.pair import Difference, PValue
from leadline.claims.result import Part, Result, Verdict
from leadline.claims.schema import (
    Claim,
    ClaimsFile,
    Discrepancy,
    Setting,
    load_claims,
    load_discrepancies,
)
from leadline.claims.worth import Points, worth_of

__all__ = [
    "Cell",
    "Claim",
    "ClaimsFile",
    "Difference",
    "Discrepancy",
    "Evidence",
    "PValue",
    "Part",
    "Points",
    "Result",
    "Setting",
    "Side",
    "Verdict",
    "adjusted",
    "difference",
    "differences",
    "evaluate",
    "evaluate_claim",
    "load_claims",
    "load_discrepancies",
    "members",
    "worth_of",
]
