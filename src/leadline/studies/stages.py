"""Seeds stage by stage: by which rule a study is stopped, and which runs a stage needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leadline.errors import UserError
from leadline.stats.looks import LOOKS, MOST_RUNS
from leadline.studies.expand import Plan
from leadline.studies.naming import Run
from leadline.studies.schema import Study

DECIDED, PRECISE = "decided", "precise"
RULES = (DECIDED, PRECISE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """When to stop adding seeds, and after how many seeds to ask."""

    rule: str
    looks: tuple[int, ...]


def stop_rule(plan: Plan, rule: str) -> StopRule:
    """Say at how many seeds a study is looked at under a rule.

    Raises
    ------
    UserError
        When nothing is compared, no looks are declared, or the rule has nothing to go by.
    """
    study = plan.study
    require_comparisons(study, rule)
    if rule == DECIDED and not study.looks:
        raise UserError(
            "--until decided needs a study that declares when it is looked at",
            got=f"no looks in {study.name}",
            remedy="add looks: [3, 5, 10, 20] to its file (seed left out of the grid is then "
            "1 to 20), or use --until precise",
        )
    if rule == PRECISE and study.compare.get("cells") == "fixed":
        raise UserError(
            "--until precise weighs the luck of runs against that of the held-out cells",
            got="compare: cells: fixed",
            remedy="use --until decided, or leave cells: out",
        )
    seeds = max((run.seeds for run in plan.runs), default=1)
    if seeds < 2:
        raise UserError(
            "--until adds seeds, so the study must have several",
            got="one seed",
            remedy=f"list more, for example seed=range(1,{MOST_RUNS + 1})",
        )
    most = min(seeds, MOST_RUNS)
    usual = (*(look for look in LOOKS if look < most), most)
    return StopRule(rule=rule, looks=study.looks or usual)


def require_comparisons(study: Study, rule: str) -> None:
    """Refuse a study that compares nothing: nothing would ever be decided."""
    pairs = study.compare.get("pairs")
    if pairs is None:
        pairs = [arm.name for arm in study.arms.values() if arm.against is not None]
    if not pairs:
        raise UserError(
            f"--until {rule} needs arms that are compared",
            got=f"none in {study.name}",
            remedy="add an arm beside the reference, or pairs: to compare:",
        )


def first_stage(runs: Sequence[Run], looks: Sequence[int]) -> dict[tuple[str, str], int]:
    """Give every place, an arm at a point of the grid, the seeds of the first look."""
    return {order.place: looks[0] for run in runs for order in run.orders}


def runs_of_stage(runs: Sequence[Run], seeds: Mapping[tuple[str, str], int]) -> list[Run]:
    """List the runs of so many seeds at each place, and the pretraining that they start from."""
    chosen = [run for run in runs if any(order.nth <= seeds[order.place] for order in run.orders)]
    needed = with_starts({name for run in chosen for name in run.after}, runs)
    first = [run for run in runs if not run.orders and named(run) in needed]
    return [*first, *chosen]


def with_starts(names: Iterable[str], runs: Sequence[Run]) -> set[str]:
    """Add to the ids of pretraining runs those that they start from themselves."""
    found, left = set(names), list(names)
    after = {named(run): run.after for run in runs}
    while left:
        more = set(after.get(left.pop(), ())) - found
        found |= more
        left += more
    return found


def named(run: Run) -> str:
    """Give a run's id, or what it is called where it cannot be made."""
    return run.label if run.name is None else run.run_id
