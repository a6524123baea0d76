"""`leadline ablate --until`: seeds look by look, where a comparison still needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leadline.errors import UserError
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.study import comparisons
from leadline.report.study import of_manifest
from leadline.report.write import MARGIN
from leadline.runs.record import State
from leadline.stats import metrics
from leadline.studies import Plan, Run, manifest
from leadline.studies.stages import StopRule, first_stage, runs_of_stage
from leadline.studies.sweep import RunEnd

Sweep = Callable[[Sequence[Run]], list[RunEnd]]


@dataclass(slots=True, kw_only=True)
class Stages:
    """A study that is made stage by stage, and what is found after each.

    All follows from the records: what was made before an interruption is judged again, and comes
    to the same decisions.
    """

    plan: Plan
    runs: Sequence[Run]
    rule: StopRule
    tell: Callable[[str], None]
    ends: dict[str, RunEnd] = field(default_factory=dict)
    found: list[ArmComparison] = field(default_factory=list)

    @property
    def runs_dir(self) -> Path:
        """Give the folder of the records."""
        return Path(self.runs[0].config.runs_dir)

    def make(self, sweep: Sweep, stop: threading.Event) -> list[RunEnd]:
        """Make stage after stage until no comparison needs more seeds; give the end of each run."""
        self.require_one_rule()
        seeds = first_stage(self.runs, self.rule.looks)
        while True:
            stage = runs_of_stage(self.runs, seeds)
            if any(run.name is None or run.state() is not State.DONE for run in stage):
                manifest.write(self.plan, stage, self.runs_dir, self.rule)
            new = [run for run in stage if key_of(run) not in self.ends]
            self.ends |= {key_of(end.run): end for end in sweep(new)}
            if stop.is_set():
                break
            self.found = self.judged(stage)
            wanted = seeds | self.more(seeds)
            if wanted == seeds:
                break
            self.tell(f"{self.in_short()}; more seeds where it is open")
            seeds = wanted
        manifest.write(self.plan, stage, self.runs_dir, self.rule)
        return [self.ends[key_of(run)] for run in stage]

    def judged(self, stage: Sequence[Run]) -> list[ArmComparison]:
        """Compare what the study declares, by the records of the runs so far."""
        content = manifest.content(self.plan, stage, self.rule)
        return comparisons(of_manifest(content, self.runs_dir, MARGIN))

    def more(self, seeds: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
        """Say which places get more seeds: both arms of a comparison whose next look may decide.

        One that lacks runs which failed waits for them at the seeds that it has.
        """
        wanted: dict[tuple[str, str], int] = {}
        for each in self.found:
            if not each.needs_seeds or each.waits_for is None:
                continue
            for side in (each.a, each.b):
                order = side.records[0]["order"]
                place = (str(order["arm"]), str(order["at"]))
                wanted[place] = max(wanted.get(place, 0), seeds[place], each.waits_for)
        return wanted

    def require_one_rule(self) -> None:
        """Refuse to judge a study by a second rule: each has 5 % of errors of its own."""
        said = manifest.read(manifest.path_of(self.plan.study.name, self.runs_dir))
        before = (said.get("until"), tuple(said.get("looks") or ()))
        if before[0] and before != (self.rule.rule, self.rule.looks):
            raise UserError(
                "a study is judged by the rule and at the looks that it was begun with",
                got=f"--until {self.rule.rule} at {self.rule.looks}, begun with "
                f"--until {before[0]} at {before[1]}",
                remedy="go on as it was begun, or start afresh with other seeds in another "
                "runs_dir=",
            )

    def in_short(self) -> str:
        """Count the comparisons by what is known of them."""
        still = [each for each in self.found if each.needs_seeds]
        at = sorted({look.seeds for each in self.found for look in each.looks})
        looked = f"at {at[-1]} seeds" if at else "before the first look"
        return f"{looked} {len(self.found) - len(still)} of {len(self.found)} comparisons are done"

    def told(self) -> list[str]:
        """Say how each comparison ended."""
        lines = []
        for each in self.found:
            where = f"{each.a.arm} against {each.b.arm}, {metrics.title(each.a.metric)}"
            if each.a.fraction < 1:
                where += f" with {each.a.fraction:.0%} of the labels"
            made = f" at {each.looks[-1].seeds} seeds" if each.looks else ""
            why = f" ({each.why})" if each.why else ""
            lines.append(f"{where}: {each.verdict}{made}{why}")
        return lines


def key_of(run: Run) -> str:
    """Tell runs apart, also those that cannot be made."""
    return " ".join([run.label, *run.words]) if run.name is None else run.run_id
