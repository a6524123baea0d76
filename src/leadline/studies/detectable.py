"""The least difference that a study can find, before it is run: from its seeds and its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from leadline.config import registry
from leadline.config.tasks import TASKS
from leadline.runs import damage
from leadline.runs.record import State
from leadline.stats.looks import ALPHA, levels
from leadline.stats.seeds_and_cells import CAUTIOUS, USUAL, planned_detectable
from leadline.studies.expand import Plan
from leadline.studies.naming import Run
from leadline.studies.schema import Study

METRIC = "accuracy"
# Where no record tells: sd of a run's score, a point.
ASSUMED_SD = 0.01

Place = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpread:
    """Standard deviation of a score between runs, and what it rests on."""

    sd: float
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findable:
    """What one comparison can find with chance .8, in shares of the held-out cells.

    `seeds` of either arm, 0 for a model without luck. `usual` and `cautious` are of two spreads of
    competence between the models, `any_seeds` is the usual one however many seeds are run. None
    where an arm with luck has one seed: of its next run nothing can be shown.
    """

    arm: str
    against: str
    at: str
    seeds: tuple[int, int]
    cells: int
    spread: RunSpread
    usual: float | None
    cautious: float | None
    any_seeds: float


def findable(plan: Plan, runs: Sequence[Run]) -> list[Findable]:
    """Say for each comparison of a study what it can find, at the last look if there are looks."""
    study = plan.study
    at = {order.place: run for run in runs for order in run.orders if run.name is not None}
    at = {place: run for place, run in at.items() if TASKS[run.config.task].main_score == METRIC}
    scores = {place: scores_of(place, runs) for place in at}
    alpha = levels(study.looks)[study.looks[-1]] if study.looks else ALPHA
    found = []
    for a, b in pairs_of(study):
        for place, other in partners(a, b, at):
            seeds = (seeds_of(place, at[place], study), seeds_of(other, at[other], study))
            name = at[place].name
            assert name is not None
            cells, spread = int(name.cells["test"]), spread_of([place, other], at, scores)
            least = partial(planned_detectable, cells=cells, run_sd=spread.sd, alpha=alpha)
            design = {"seeds": seeds[0], "seeds_against": seeds[1]}
            known = 1 not in seeds
            found.append(
                Findable(
                    arm=a,
                    against=b,
                    at=place[1],
                    seeds=seeds,
                    cells=cells,
                    spread=spread,
                    usual=least(**design, competence=USUAL) if known else None,
                    cautious=least(**design, competence=CAUTIOUS) if known else None,
                    any_seeds=least(seeds=0, competence=USUAL),
                )
            )
    return found


def pairs_of(study: Study) -> list[tuple[str, str]]:
    """List the pairs of arms that a study compares."""
    declared = study.compare.get("pairs")
    if declared is not None:
        return [(a, b) for a, b in declared]
    return [(arm.name, arm.against) for arm in study.arms.values() if arm.against is not None]


def partners(a: str, b: str, runs: Mapping[Place, Run]) -> Iterator[tuple[Place, Place]]:
    """Go through the places of an arm that the other is compared in: the same cells and labels."""
    for place, run in runs.items():
        if place[0] != a:
            continue
        data = (run.config.data.name, run.config.data.fraction)
        others = [
            other
            for other, its in runs.items()
            if other[0] == b and (its.config.data.name, its.config.data.fraction) == data
        ]
        same = [other for other in others if other[1] == place[1]]
        for other in same or others[: len(others) == 1]:
            yield place, other


def seeds_of(place: Place, run: Run, study: Study) -> int:
    """Count the seeds of an arm in a place; 0 if more than one would change nothing."""
    if is_without_luck(run):
        return 0
    listed = next(order.seeds for order in run.orders if order.place == place)
    return min(listed, study.looks[-1]) if study.looks else listed


def is_without_luck(run: Run) -> bool:
    """Say whether every run of an arm is the same: a model without luck, on all labels."""
    return registry.named(run.config.model.name).deterministic and run.config.data.fraction == 1


def scores_of(place: Place, runs: Sequence[Run]) -> list[float]:
    """Read the scores of the runs of a place that are done."""
    found = []
    for run in runs:
        here = run.name is not None and any(order.place == place for order in run.orders)
        if here and run.state() is State.DONE:
            facts, _ = damage.facts_or_reason(run.folder)
            value = None if facts is None else facts["metrics"].get("test", {}).get(METRIC)
            found += [] if value is None else [float(value)]
    return found


def spread_of(
    places: Sequence[Place], runs: Mapping[Place, Run], scores: Mapping[Place, list[float]]
) -> RunSpread:
    """Pool the spread of finished runs: of these arms here, else of their models, else assume."""
    lucky = [place for place in places if not is_without_luck(runs[place])]
    if not lucky:
        return RunSpread(sd=0.0, basis="models without luck")
    models = {runs[place].config.model.name for place in lucky}
    alike = [place for place, run in runs.items() if run.config.model.name in models]
    for those, words in ((lucky, "of these arms"), (alike, "of these models")):
        several = [np.array(scores[place]) for place in those if len(scores[place]) > 1]
        df = sum(values.size - 1 for values in several)
        if df:
            squares = sum((values.size - 1) * float(values.var(ddof=1)) for values in several)
            count = sum(values.size for values in several)
            return RunSpread(sd=float(np.sqrt(squares / df)), basis=f"{count} runs {words}")
    return RunSpread(sd=ASSUMED_SD, basis="assumed: no two runs are done")
