"""One line on what would settle what is open: more seeds, more held-out cells, more donors."""

from __future__ import annotations

from collections.abc import Sequence

from leadline.report.answer import is_control, listed, title_of
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.settle import settling
from leadline.report.study import StudyResults

# So many arms are named for each remedy; others are counted.
MOST_NAMED = 3


def would_settle(study: StudyResults, first: Sequence[ArmComparison]) -> str:
    """Say what would settle the open ones among the comparisons that the answer speaks of.

    Nothing where all is shown, or where nothing is known of what would help.
    """
    open_ = [each for each in first if each.verdict in ("open", "untested")]
    by_remedy: dict[str, list[tuple[ArmComparison, int]]] = {}
    for each in sorted(open_, key=is_control):
        remedy, count = _remedy(study, each)
        by_remedy.setdefault(remedy, []).append((each, count))
    said = [
        _sentence(study, remedy, by_remedy[remedy]) for remedy in REMEDIES if remedy in by_remedy
    ]
    return f"To settle what is open: {'; '.join(said)}." if said else ""


def _remedy(study: StudyResults, each: ArmComparison) -> tuple[str, int]:
    """Name what would settle a comparison, and how much of it."""
    if each.cannot_tell and each.parts is not None:
        return "donors", 6
    if each.p is None:
        return ("runs", 2) if each.parts is not None else ("unknown", 0)
    found = settling(each, study.margin)
    if found is None:
        return "unknown", 0
    if found.nearly:
        return "nearly", 0
    if found.needs.seeds is not None:
        return "seeds", found.needs.seeds
    if found.needs.donors is not None:
        return "donors", found.needs.donors
    if found.needs.cells is not None:
        return "cells", found.needs.cells
    return "close", 0


# What each remedy is called, with the largest number that any of its comparisons asks for.
REMEDIES = {
    "nearly": "a few more seeds may do for {arms}",
    "seeds": "about {count:,} seeds an arm for {arms}",
    "cells": "up to {count:,} held-out cells, not seeds, for {arms}",
    "donors": "at least {count:,} held-out donors for {arms}",
    "runs": "a second seed for {arms}",
    "close": "nothing soon for {arms}, so close it is",
}


def _sentence(study: StudyResults, remedy: str, wanted: Sequence[tuple[ArmComparison, int]]) -> str:
    names = list(dict.fromkeys(title_of(study, each.a) for each, _ in wanted))
    more = len(names) - MOST_NAMED
    if more > 0:
        names = [*names[:MOST_NAMED], f"{more} more"]
    return REMEDIES[remedy].format(arms=listed(names), count=max(count for _, count in wanted))
