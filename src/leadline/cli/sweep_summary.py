"""What a person is told when a sweep ends: what was made, what failed and why, how to go on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from leadline.config.tasks import TASKS
from leadline.runs import damage
from leadline.runs.record import State
from leadline.stats import metrics
from leadline.studies import Plan, Run
from leadline.studies.sweep import RunEnd, RunOutcome

MOST_REASONS = 12
# What became of runs, as the columns of the table say it.
COLUMNS = {
    RunOutcome.DONE: "done",
    RunOutcome.HAD: "already there",
    RunOutcome.FAILED: "failed",
    RunOutcome.NOT_APPLICABLE: "not applicable",
    RunOutcome.IMPOSSIBLE: "cannot be made",
    RunOutcome.DAMAGED: "damaged",
    RunOutcome.LEFT: "never run",
}
SHOWN_IF_ANY = (RunOutcome.NOT_APPLICABLE, RunOutcome.IMPOSSIBLE, RunOutcome.DAMAGED)
WIDTH_OF_A_FILE = 160


def print_summary(plan: Plan, ends: Sequence[RunEnd], *, stopped: bool, again: str) -> None:
    """Print the table of a sweep, the reasons of failures, and what is to be done next."""
    console = open_console()
    console.print(table(plan, ends))
    for fate in (RunOutcome.FAILED, RunOutcome.IMPOSSIBLE, RunOutcome.DAMAGED):
        for line in reasons([end for end in ends if end.fate is fate], fate):
            console.print(escape(line))
    for line in not_applicable([end for end in ends if end.fate is RunOutcome.NOT_APPLICABLE]):
        console.print(escape(line))
    counts = Counter(end.fate for end in ends)
    failed = counts[RunOutcome.FAILED]
    todo = failed + counts[RunOutcome.LEFT] + counts[RunOutcome.DAMAGED]
    apart = "".join(
        f", {counts[fate]} {COLUMNS[fate]}"
        for fate in (*SHOWN_IF_ANY, RunOutcome.LEFT)
        if counts[fate]
    )
    console.print(
        f"{plan.study.name or 'sweep'}: {len(ends)} runs, {counts[RunOutcome.DONE]} done now, "
        f"{counts[RunOutcome.HAD]} already there, {failed} failed{apart}; {todo} to do"
    )
    if counts[RunOutcome.DAMAGED]:
        place = next(end.run.folder.parent for end in ends if end.fate is RunOutcome.DAMAGED)
        remedy = f"leadline doctor {place} --quarantine moves damaged records aside"
        console.print(escape(f"{remedy}; the same command then makes them again"))
    if stopped and todo:
        console.print(f"stopped; what ran has a checkpoint. Go on with:\n  {escape(again)}")
    elif failed:
        console.print(f"to try again:\n  {escape(again)}")


def open_console() -> Console:
    """Give where tables are printed: as wide as the terminal, or as a file has room."""
    wide = None if sys.stdout.isatty() else WIDTH_OF_A_FILE
    return Console(highlight=False, soft_wrap=True, width=wide)


def table(plan: Plan, ends: Sequence[RunEnd]) -> Table:
    """Lay out, by arm and point of the grid, how runs ended, and the scores of those done."""
    shown = Table(title=plan.study.question, title_justify="left", title_style="bold")
    shown.add_column("arm")
    grouped = by_arm(ends)
    if any(point for _, point in grouped):
        shown.add_column("at")
    fates = [
        fate
        for fate in COLUMNS
        if fate not in SHOWN_IF_ANY or any(end.fate is fate for end in ends)
    ]
    for heading in (*(COLUMNS[fate] for fate in fates), "score (mean ± sd)"):
        shown.add_column(heading, justify="right")
    for where, own in grouped.items():
        counts = Counter(end.fate for end in own)
        numbers = [counts[fate] for fate in fates]
        scores = score_of([end.run for end in own])
        place = [escape(word) for word in where][: len(shown.columns) - len(fates) - 1]
        shown.add_row(*place, *(str(number) if number else "" for number in numbers), scores)
    return shown


def by_arm(ends: Sequence[RunEnd]) -> dict[tuple[str, str], list[RunEnd]]:
    """Sort runs by the arm that they serve and where; a pretraining run has a name of its own."""
    found: dict[tuple[str, str], list[RunEnd]] = {}
    for end in ends:
        for arm in end.run.arms or (end.run.label,):
            found.setdefault((arm, end.run.point), []).append(end)
    return found


def score_of(runs: Sequence[Run]) -> str:
    """Give mean and deviation of the score of those runs that are done, and how many they are."""
    facts = [done_facts(run) for run in runs]
    scores = [
        value
        for run, fact in zip(runs, facts, strict=True)
        if (value := main_score(run, fact)) is not None
    ]
    if not scores:
        return ""
    name = metrics.title(TASKS[runs[0].config.task].main_score)
    spread = f" ± {stdev(scores):.4f}" if len(scores) > 1 else ""
    of_all = f" ({len(scores)} of {len(runs)})" if len(scores) < len(runs) else ""
    return f"{name} {mean(scores):.4f}{spread}{of_all}"


def done_facts(run: Run) -> dict[str, Any] | None:
    """Read the record of a run, if it is done."""
    if run.name is None or run.state() is not State.DONE:
        return None
    return damage.facts_or_reason(run.folder)[0]


def main_score(run: Run, facts: dict[str, Any] | None) -> float | None:
    """Give the score of the reported cells that a table shows."""
    if facts is None:
        return None
    value = facts["metrics"].get("test", {}).get(TASKS[run.config.task].main_score)
    return None if value is None else float(value)


def not_applicable(ends: Sequence[RunEnd]) -> list[str]:
    """Name the arms to which what the study asks does not apply, with the model's own words."""
    arms: dict[str, RunEnd] = {}
    for end in ends:
        arms.setdefault(end.run.label, end)
    word = f"{RunOutcome.NOT_APPLICABLE}: "
    return [f"{arm}: {word}{end.message.removeprefix(word)}" for arm, end in arms.items()]


def reasons(failed: Sequence[RunEnd], fate: RunOutcome = RunOutcome.FAILED) -> list[str]:
    """Say why runs ended without a result, each reason once, with the runs that it stopped."""
    by_reason: dict[str, list[RunEnd]] = {}
    for end in failed:
        name = end.run.run_id if end.run.name is not None else ""
        text = end.message.replace(f"{name} failed: ", "") if name else end.message
        by_reason.setdefault(text.replace(name, "it") if name else text, []).append(end)
    lines = []
    for text, ends in list(by_reason.items())[:MOST_REASONS]:
        arms = ", ".join(dict.fromkeys(end.run.label for end in ends))
        first = f", {ends[0].run.run_id} first" if ends[0].run.name is not None else ""
        lines.append(f"{fate} in {arms} ({len(ends)} runs{first}): {text}")
    if len(by_reason) > MOST_REASONS:
        lines.append(f"and {len(by_reason) - MOST_REASONS} more reasons")
    return lines
