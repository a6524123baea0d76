"""`leadline plan`: what a study comes to before anything is run: runs, time, memory, cost."""

from __future__ import annotations

import argparse
import heapq
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from leadline import config as schemas
from leadline.cli.sweep_summary import open_console
from leadline.progress import say
from leadline.runs import damage
from leadline.runs.record import State
from leadline.studies import Plan, Run, folds
from leadline.studies.choices import Choices
from leadline.studies.designs import size_of
from leadline.studies.detectable import Findable, findable
from leadline.studies.estimate import Basis, Estimate, Estimator, fit_estimator, probe
from leadline.studies.launchers import launcher_settings

# Above this many runs the table shows arms; --json always shows runs.
MOST_ROWS = 80
# Lines of what comparisons can find.
MOST_LINES = 20
ENDED = (State.DONE, State.NOT_APPLICABLE)
HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One run with its state and what it will take."""

    run: Run
    state: State | None
    estimate: Estimate

    @property
    def left(self) -> bool:
        """Say whether it is still to be made."""
        return self.state is not None and self.state not in ENDED


def look(runs: Sequence[Run], *, probed: bool = False) -> list[Planned]:
    """Find the state of each run, and estimate it; with `probed`, measure what is unknown.

    The person who waits is told which records are damaged.
    """
    estimator = learned(runs)
    states = {run.run_id: run.state() for run in runs if run.name is not None}
    finished = [
        run.folder
        for run in runs
        if run.name is not None and states[run.run_id] in (State.DONE, State.DAMAGED)
    ]
    _, damaged = damage.parted(dict.fromkeys(finished))
    damage.warn(damaged, len(set(finished)))
    states |= {each.folder.name: State.DAMAGED for each in damaged}
    if probed:
        probe(estimator, runs)
    return [
        Planned(
            run=run,
            state=None if run.name is None else states[run.run_id],
            estimate=estimator.of(run),
        )
        for run in runs
    ]


def learned(runs: Sequence[Run]) -> Estimator:
    """Learn from the records of the folder that the runs go to."""
    return fit_estimator(Path(runs[0].config.runs_dir), runs)


def show(
    plan: Plan, runs: Sequence[Run], launcher: schemas.LauncherConfig, *, probed: bool, price: float
) -> None:
    """Print the plan of a study."""
    planned = look(runs, probed=probed)
    console = open_console()
    console.print(run_table(plan, planned) if len(planned) <= MOST_ROWS else arm_table(planned))
    for name, factors in plan.factors.items():
        arm = plan.study.arms[name]
        if arm.also:
            why = "; ".join(f"{key}: {reason}" for key, reason in arm.also.items())
            console.print(f"{escape(name)} differs in {', '.join(factors)} ({escape(why)})")
    for problem, number in Counter(run.problem for run in runs if run.problem).items():
        console.print(f"{number} runs cannot be made: {escape(problem)}")
    totals = add_up(planned, launcher, price)
    for line in summary(plan, planned, totals, price):
        console.print(escape(line))
    for line in can_find(plan, runs):
        console.print(escape(line))


def as_json(
    plan: Plan, runs: Sequence[Run], launcher: schemas.LauncherConfig, *, probed: bool, price: float
) -> str:
    """Give the plan of a study as JSON."""
    planned = look(runs, probed=probed)
    return json.dumps(
        {
            "study": plan.study.name,
            "question": plan.study.question,
            "runs": [described(item) for item in planned],
            "totals": add_up(planned, launcher, price),
            "detectable": [asdict(each) for each in findable(plan, runs)],
        },
        indent=1,
        ensure_ascii=False,
    )


def described(item: Planned) -> dict[str, Any]:
    """Say in plain values what is known of one run."""
    run, estimate = item.run, item.estimate
    choices = [dict(order.choices) for order in run.orders if order.choices]
    return {
        "run_id": run.run_id if run.name is not None else None,
        "label": run.label,
        "arms": list(run.arms),
        "at": run.point,
        "seed": run.config.seed,
        "state": None if item.state is None else str(item.state),
        "problem": run.problem or None,
        "after": list(run.after),
        "overrides": list(run.words),
        **({"choices": choices} if choices else {}),
        "cells": dict(run.name.cells) if run.name is not None else None,
        "estimate": {
            "basis": str(estimate.basis),
            "seconds": rounded(estimate.seconds),
            "memory_mib": rounded(estimate.memory_mib),
            "gpu_memory_mib": rounded(estimate.gpu_memory_mib),
        },
    }


def rounded(value: float | None) -> float | None:
    """Leave out digits that no estimate has."""
    return None if value is None else float(f"{value:.3g}")


def add_up(
    planned: Sequence[Planned], launcher: schemas.LauncherConfig, price: float
) -> dict[str, Any]:
    """Sum up what is left: hours of work, hours of waiting under each launcher, memory, cost."""
    left = [item for item in planned if item.left]
    known = [item for item in left if item.estimate.seconds is not None]
    hours = sum((item.estimate.seconds or 0.0) * item.run.devices for item in known) / HOUR
    memory = [item.estimate.memory_mib for item in known if item.estimate.memory_mib is not None]
    workers = workers_of(launcher)
    return {
        "runs": len(planned),
        "states": dict(Counter(str(item.state or "impossible") for item in planned)),
        "to_do": sum(item.state not in ENDED for item in planned),
        "without_estimate": len(left) - len(known),
        "device_hours": rounded(hours),
        "memory_mib_of_largest_run": rounded(max(memory, default=None)),
        "hours_by_launcher": {
            name: {"workers": number, "hours": rounded(makespan(known, number) / HOUR)}
            for name, number in workers.items()
        },
        "cost": rounded(hours * price) if price else None,
    }


def workers_of(chosen: schemas.LauncherConfig) -> dict[str, int]:
    """Say how many runs each launcher makes at once, with the chosen one as it is set."""
    cores = os.cpu_count() or 1
    found = {}
    for name in schemas.LAUNCHERS:
        launcher = chosen if name == chosen.name else launcher_settings(name, [])
        number = getattr(launcher, "array_parallelism", getattr(launcher, "n_jobs", 1))
        found[name] = cores if number == -1 else int(number)
    return found


def makespan(items: Sequence[Planned], workers: int) -> float:
    """Give the seconds until all is done: first what starts from nothing, then what needs it."""
    done = 0.0
    waves = [[item for item in items if bool(item.run.after) is late] for late in (False, True)]
    for wave in waves:
        ends = [done] * max(1, workers)
        for item in wave:
            heapq.heapreplace(ends, ends[0] + (item.estimate.seconds or 0.0))
        done = max(ends)
    return done


def summary(
    plan: Plan, planned: Sequence[Planned], totals: Mapping[str, Any], price: float
) -> list[str]:
    """Say what a person wants to know before they start."""
    lines = [f"{plan.study.name}: {totals['runs']} runs, {totals['to_do']} to do"]
    if told := folds.told(item.run.config for item in planned):
        lines.append(told)
    if plan.study.choices is not None:
        lines.append(of_choices(plan.study.choices, planned))
    if not totals["to_do"]:
        return lines
    if totals["without_estimate"]:
        lines.append(
            f"{totals['without_estimate']} runs of a kind that was never made here: "
            "--probe measures ten steps of each"
        )
    if totals["device_hours"]:
        by_launcher = ", ".join(
            f"{name} ({found['workers']} at once) {duration(found['hours'] * HOUR)}"
            for name, found in totals["hours_by_launcher"].items()
        )
        which = " without those" if totals["without_estimate"] else ""
        work = duration(totals["device_hours"] * HOUR)
        lines.append(f"about {work} of work{which}: {by_launcher}")
        lines.append(f"largest run: {totals['memory_mib_of_largest_run']:,.0f} MiB of memory")
    if totals["cost"] is not None:
        lines.append(f"cost at {price:g} an hour and device: {totals['cost']:,.2f}")
    return lines


def of_choices(choices: Choices, planned: Sequence[Planned]) -> str:
    """Say how many universes there are, and how many runs serve several of them."""
    shared = sum(len({order.point for order in item.run.orders}) > 1 for item in planned)
    several = f", {shared} runs serve several universes" if shared else ""
    return (
        f"{len(choices.universes)} universes ({choices.name}) of "
        f"{size_of(choices.trained):,} combinations of {len(choices.trained)} switches{several}"
    )


def can_find(plan: Plan, runs: Sequence[Run]) -> list[str]:
    """Say the least difference that each comparison can find, alike ones in one line."""
    grouped: dict[tuple[Any, ...], list[Findable]] = {}
    for each in findable(plan, runs):
        # Universes are many, and mostly alike.
        at = "" if plan.study.choices is not None else each.at
        key = (each.against, at, each.seeds, each.cells, each.spread)
        grouped.setdefault(key, []).append(each)
    if not grouped:
        return []
    looks = plan.study.looks
    when = f", at the last look, {looks[-1]} seeds" if looks else ""
    lines = [
        "least difference in accuracy that can be found, with chance .8, two-sided 5 %, before "
        f"Holm’s correction{when} (usual; cautious, for models that get very different cells):"
    ]
    for alike in list(grouped.values())[:MOST_LINES]:
        each = alike[0]
        arms = ", ".join(dict.fromkeys(one.arm for one in alike))
        at = f" at {each.at}" if each.at else ""
        if plan.study.choices is not None:
            at = f" in {len({one.at for one in alike})} universes"
        lines.append(f"  {arms} against {each.against}{at}: {least_words(each)}")
    if len(grouped) > MOST_LINES:
        lines.append(f"  and {len(grouped) - MOST_LINES} more: --json lists all")
    if any(run.config.protocol.reported == "group" for run in runs):
        lines.append(
            "  this is for fresh cells of these donors; for fresh donors it is more, and less so "
            "the more donors are held out: by how much, only finished runs tell"
        )
    return lines


def least_words(each: Findable) -> str:
    """Say what one comparison can find, and from what that follows."""
    several = dict.fromkeys(number for number in each.seeds if number)
    seeds = f"{' and '.join(map(str, several))} seed{'s' if max(several, default=2) > 1 else ''}"
    basis = f"{seeds if several else 'no luck'}, {each.cells:,} held-out cells"
    if each.usual is None or each.cautious is None:
        return f"nothing of the next run: two seeds are needed ({basis})"
    spread = f"; sd of a run {100 * each.spread.sd:.1f} points, {each.spread.basis}"
    return (
        f"{100 * each.usual:.1f} points; {100 * each.cautious:.1f} ({basis}"
        f"{spread if several else ''}; {100 * each.any_seeds:.1f} with any number of seeds)"
    )


def run_table(plan: Plan, planned: Sequence[Planned]) -> Table:
    """Lay the runs out, one a row."""
    table = Table(title=plan.study.question, title_justify="left", title_style="bold")
    for heading in ("run", "arm", "state", "after"):
        table.add_column(heading, overflow="fold")
    for heading in ("time", "memory", "from"):
        table.add_column(heading, justify="right")
    for item in planned:
        run, estimate = item.run, item.estimate
        table.add_row(
            run.run_id if run.name is not None else "-",
            escape(", ".join(run.arms) or run.label),
            str(item.state or "impossible"),
            " ".join(name[-12:] for name in run.after),
            "" if estimate.seconds is None else duration(estimate.seconds),
            "" if estimate.memory_mib is None else f"{estimate.memory_mib:,.0f} MiB",
            str(estimate.basis),
        )
    return table


def arm_table(planned: Sequence[Planned]) -> Table:
    """Lay the arms out, where the runs would fill pages."""
    table = Table()
    for heading in ("arm", "at"):
        table.add_column(heading)
    for heading in ("runs", "to do", "time"):
        table.add_column(heading, justify="right")
    grouped: dict[tuple[str, str], list[Planned]] = {}
    for item in planned:
        arm = ", ".join(item.run.arms) or item.run.label
        grouped.setdefault((arm, item.run.point), []).append(item)
    for (arm, point), items in grouped.items():
        left = [item for item in items if item.left]
        seconds = [item.estimate.seconds for item in left if item.estimate.seconds is not None]
        table.add_row(
            escape(arm),
            escape(point),
            str(len(items)),
            to_do(items),
            duration(sum(seconds)) if seconds else str(Basis.UNKNOWN) if left else "",
        )
    say("one line for each arm; --json lists every run")
    return table


def to_do(items: Sequence[Planned]) -> str:
    """Count what is to be made of an arm, or say that what it asks does not apply to its model."""
    if items and all(item.state is State.NOT_APPLICABLE for item in items):
        return str(State.NOT_APPLICABLE)
    return str(sum(item.state not in ENDED for item in items))


def duration(seconds: float) -> str:
    """Write a duration with the precision of an estimate.

    Examples
    --------
    >>> [duration(value) for value in (0.4, 75, 5000, 200000)]
    ['0.4 s', '75 s', '83 min', '56 h']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:.0f} h"


def call(chosen: argparse.Namespace) -> int:
    """Print the plan."""
    from leadline.cli.ablate import parse_words, planned
    from leadline.errors import UserError

    if not 0 <= chosen.price < float("inf"):
        raise UserError("--price must be 0 or more", got=f"{chosen.price:g}", remedy="leave it out")
    asked = parse_words(chosen.overrides)
    plan, runs = planned(chosen.name, asked.overrides)
    if chosen.watch:
        from leadline.cli.live_table import watch

        watch(plan, runs)
        return 0
    options = {"probed": chosen.probe, "price": chosen.price}
    if chosen.json:
        print(as_json(plan, runs, asked.launcher, **options))
    else:
        show(plan, runs, asked.launcher, **options)
    return 0
