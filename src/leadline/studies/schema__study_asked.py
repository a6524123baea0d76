"""What a study wants to know of its runs: which tests on which metrics, beside which numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from leadline.errors import UserError, nearest
from leadline.papers import boiarsky
from leadline.studies.schema__study_reading import mapping, text, texts

COMPARE_KEYS = ("family", "tests", "metrics", "equivalence_margin", "pairs")
# The names under which stats.compare gives its tests, and the equivalence tests beside them.
TESTS = (
    "student",
    "welch",
    "mann_whitney",
    "permutation",
    "paired_t",
    "wilcoxon",
    "paired_permutation",
    "tost_welch",
    "tost_paired",
    "mcnemar",
)
METRICS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "acc_hard",
    "f1_hard",
    "f1_hard_cells",
    "log_loss",
    "calibration_error",
    "masked_loss",
    "masking_accuracy",
)


def read_compare(said: Any, arms: Iterable[str]) -> dict[str, Any]:
    """Read which tests, on which metrics, make one family; docs/studies.md gives the schema."""
    compare = dict(mapping("compare", said, COMPARE_KEYS))
    if not compare:
        return compare
    for key in ("family", "tests", "metrics"):
        # Where an arm has one run there is nothing to test: an empty list says so.
        if not compare.get(key) and compare.get(key) != []:
            raise UserError(
                f"compare must have its {key}",
                got="none",
                remedy=f"add {key}: or leave compare out",
            )
    text("compare: family", compare["family"])
    for key, known in (("tests", TESTS), ("metrics", METRICS)):
        for word in texts(f"compare: {key}", compare[key]):
            if word not in known:
                raise UserError(
                    f"compare: {key} must be among {', '.join(known)}",
                    got=repr(word),
                    remedy=nearest(word, known),
                )
    check_margin(compare)
    if "pairs" in compare:
        compare["pairs"] = [check_pair(pair, arms) for pair in compare["pairs"] or []]
    return compare


def check_margin(compare: Mapping[str, Any]) -> None:
    """Refuse an equivalence test without a margin, and a margin that is none."""
    margin = compare.get("equivalence_margin")
    asked = [test for test in compare["tests"] if test.startswith("tost_")]
    if margin is None and asked:
        raise UserError(
            f"{asked[0]} needs a margin", got="none", remedy="add equivalence_margin: 0.01"
        )
    number = isinstance(margin, int | float) and not isinstance(margin, bool)
    if margin is not None and not (number and 0 < margin < 1):
        raise UserError(
            "compare: equivalence_margin must be a number between 0 and 1",
            got=repr(margin),
            remedy="write for example 0.01, one point of accuracy",
        )


def check_pair(pair: Any, arms: Iterable[str]) -> list[str]:
    """Refuse a pair that does not name two arms."""
    if not isinstance(pair, list) or len(pair) != 2:
        raise UserError(
            "compare: pairs must list pairs of arms",
            got=repr(pair),
            remedy="write for example pairs: [[no_pretraining, reference]]",
        )
    for name in pair:
        if name not in arms:
            raise UserError(
                "compare: pairs must name arms of the study",
                got=repr(name),
                remedy=nearest(str(name), arms),
            )
    return list(pair)


def read_published(said: Any) -> str | None:
    """Refuse what the paper calls nothing: its numbers would be missing in silence."""
    if said is None:
        return None
    key, known = text("published", said), boiarsky.artefacts()
    if key not in known:
        raise UserError(
            "published must name a table or figure whose numbers leadline has",
            got=repr(key),
            remedy=nearest(key, known, limit=len(known)),
        )
    return key


def read_report(said: Any) -> bool:
    """Read whether the study's command ends with its page."""
    if not isinstance(said, bool):
        raise UserError("report must be true or false", got=repr(said), remedy="write report: true")
    return said
