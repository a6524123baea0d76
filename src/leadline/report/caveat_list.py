"""Caveats of a study as a reader needs them: each once, gravest first, the arms that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leadline.report.answer import capitalised, listed, title_of
from leadline.report.compare.comparison import ArmComparison
from leadline.report.folds import runs_of
from leadline.report.study import StudyResults
from leadline.stats import Flag

ORDER = ("severe", "warning", "note")
# What a caveat says of arms; of others their own sentence is told.
WORDS = {
    "dependent_replicates": "Repeats of one run: {arms} learn without luck from the same cells, "
    "so that their runs count once",
    "few_runs": "Few runs: of {arms} there are fewer than five, so that the spread between runs "
    "is hardly known",
    "two_modes": "Two groups of runs: a mean describes neither ({arms})",
    "order_effect": "An order in the runs: low ones come together, as if a batch had gone wrong "
    "({arms})",
    "batch_effect": "Batches among the runs: they differ by more than luck ({arms})",
    "collapsed_runs": "Collapsed runs: some call every cell the same ({arms})",
    "hinges_on_one_run": "Single runs carry a test: without one of them its result would be "
    "another ({arms})",
    "selected_on_reported": "Optimistic scores: epochs were chosen on the reported cells ({arms})",
    "rare_classes": "Rare classes: some have fewer than ten held-out cells, which makes intervals "
    "of class averages too narrow ({arms})",
    "different_splits": "Different splits: part of a difference may be the split ({arms})",
    "donors_unknown": "Donors unknown: the records do not hold them, so that nothing is said of "
    "fresh donors ({arms})",
    "few_donors": "Few donors: little can be said of fresh ones ({arms})",
}
MOST_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedCaveat:
    """A caveat with how grave it is, and every sentence that was raised of it."""

    severity: str
    said: str
    details: tuple[str, ...]


def caveats_of(study: StudyResults, found: Sequence[ArmComparison]) -> list[GroupedCaveat]:
    """Gather the caveats of comparisons and the warnings of runs."""
    raised: dict[tuple[str, str], dict[str, None]] = {}
    arms: dict[tuple[str, str], dict[str, None]] = {}
    for each in found:
        for flag in each.flags:
            key = (flag.severity, flag.id)
            raised.setdefault(key, {})[flag.sentence] = None
            for name in _arms_in(study, each, flag):
                arms.setdefault(key, {})[name] = None
    caveats = [
        GroupedCaveat(
            severity=severity,
            said=_said(flag_id, list(arms[severity, flag_id]), list(sentences)),
            details=tuple(sentences) if flag_id in WORDS or len(sentences) > 1 else (),
        )
        for (severity, flag_id), sentences in raised.items()
    ]
    caveats += _warnings(study)
    return sorted(caveats, key=lambda each: ORDER.index(each.severity))


def _arms_in(study: StudyResults, each: ArmComparison, flag: Flag) -> Iterable[str]:
    """Name the arms that a sentence speaks of; of a sentence without names, the compared one."""
    sides = [side for side in (each.a, each.b) if side.name in flag.sentence]
    return [title_of(study, side) for side in sides or [each.a]]


def _said(flag_id: str, arms: list[str], sentences: list[str]) -> str:
    more = len(arms) - MOST_NAMED
    names = [*arms[:MOST_NAMED], f"{more} more"] if more > 0 else arms
    if flag_id in WORDS:
        return f"{WORDS[flag_id].format(arms=listed(names))}."
    return f"{capitalised(sentences[0])}."


def _warnings(study: StudyResults) -> list[GroupedCaveat]:
    """Give what runs warned of, each text once, with the arms whose runs did."""
    counted: dict[str, list[str]] = {}
    for facts in (*study.records, *study.pretraining):
        for run in runs_of(facts):
            for text in run.get("warnings", ()):
                counted.setdefault(str(text), []).append(str(facts["arm"]))
    found = []
    for text, arms in sorted(counted.items()):
        names = [study.titles.get(arm, arm).replace("_", " ") for arm in dict.fromkeys(arms)]
        more = len(names) - MOST_NAMED
        names = [*names[:MOST_NAMED], f"{more} more"] if more > 0 else names
        runs = f"{len(arms)} run{'s' if len(arms) > 1 else ''} of {listed(names)}"
        found.append(GroupedCaveat(severity="warning", said=f"{text} ({runs}).", details=()))
    return found
