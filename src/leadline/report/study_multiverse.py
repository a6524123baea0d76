"""The multiverse of a study: runs whose entries in the manifest carry `choices`."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from leadline.report.chapter import TaskPart
from leadline.report.folds import runs_of
from leadline.report.multiverse import (
    MultiverseQuestion,
    answers_of,
    draw_answers,
    sentence,
    tables_of,
    with_analyses,
)
from leadline.report.page import slug
from leadline.report.study import Facts, StudyResults
from leadline.report.tables import Table
from leadline.runs import record
from leadline.stats import metrics
from leadline.stats.universes import Universe

# Above so many universes the analyses of each would hide the trainings.
MOST_ANALYSED = 400
Runs = dict[tuple[tuple[str, str], ...], dict[int, Facts]]


def part_of(study: StudyResults) -> TaskPart | None:
    """Give all that a page says of a study's multiverse; None where no run carries choices."""
    questions = questions_of(study)
    several = several_factors_table(study)
    if not questions:
        return TaskPart(tables=(several,)) if several.rows else None
    answers, refused = answers_of(questions)
    drawings, skipped = draw_answers(answers)
    tables = [table for answer in answers for table in tables_of(answer)]
    return TaskPart(
        answer="\n".join(map(sentence, answers)),
        tables=(several, *tables),
        drawings=tuple(drawings),
        skipped=refused | skipped,
    )


def questions_of(study: StudyResults) -> list[MultiverseQuestion]:
    """Ask for the effect of each declared pair of arms, by metric, data set and labels."""
    by_arm: dict[tuple[str, float, str], Runs] = {}
    for facts in study.records:
        if facts.get("choices"):
            choices = tuple((str(k), str(v)) for k, v in facts["choices"].items())
            place = (str(facts["dataset_asked"]), float(facts["fraction"]), str(facts["arm_asked"]))
            by_arm.setdefault(place, {}).setdefault(choices, {})[int(facts["seed"])] = facts
    found = []
    places = dict.fromkeys((dataset, fraction) for dataset, fraction, _ in by_arm)
    for dataset, fraction in places:
        for a, b in study.asked_pairs:
            ours, theirs = (by_arm.get((dataset, fraction, arm), {}) for arm in (a, b))
            if not ours or not theirs:
                continue
            for metric in study.metrics:
                universes = _universes(study, ours, theirs, metric)
                if len(universes) <= MOST_ANALYSED:
                    universes = with_analyses(universes)
                where = dataset if fraction == 1 else f"{dataset} {fraction:.0%}"
                found.append(
                    MultiverseQuestion(
                        name=slug(f"{a} {b} {where} {metric}").replace("-", "_"),
                        title=f"{a} less {b}, {metrics.title(metric)}, {where}",
                        arms=(a, b),
                        metric=metric,
                        universes=universes,
                        tags=study.tags,
                        presets=study.presets,
                    )
                )
    return found


def _universes(study: StudyResults, ours: Runs, theirs: Runs, metric: str) -> list[Universe]:
    cells = _same_cells(study, [*ours.values(), *theirs.values()])
    found = []
    for at, (choices, runs) in enumerate(ours.items()):
        others = _partners(choices, theirs)
        seeds = dict.fromkeys([*runs, *others])
        pairs: dict[Hashable, tuple[float, float]] = {
            seed: (_score(runs.get(seed), metric), _score(others.get(seed), metric))
            for seed in seeds
        }
        same = cells or f"those of universe {at + 1}"
        found.append(Universe(choices=dict(choices), runs=pairs, metric=metric, cells=same))
    return found


def _partners(choices: tuple[tuple[str, str], ...], theirs: Runs) -> Mapping[int, Facts]:
    """Find the runs of the other arm: of the same choices, as far as its model knows them."""
    wanted = dict(choices)
    for known, runs in theirs.items():
        if all(wanted.get(switch) == value for switch, value in known):
            return runs
    return {}


def _score(facts: Facts | None, metric: str) -> float:
    found = None if facts is None else facts["metrics"]["test"].get(metric)
    return float("nan") if found is None else float(found)


def _same_cells(study: StudyResults, runs: Sequence[Mapping[int, Facts]]) -> str:
    """Give a name of the reported cells where all runs of a seed have the same, else nothing."""
    by_seed: dict[int, set[str]] = {}
    for of_seed in runs:
        for seed, facts in of_seed.items():
            for each in runs_of(facts):
                by_seed.setdefault(seed, set()).add(_reported(study, each))
    same = all(len(known - {"unknown"}) <= 1 for known in by_seed.values())
    return "the same" if same else ""


def _reported(study: StudyResults, facts: Facts) -> str:
    path = study.runs_dir / str(facts["run_id"]) / record.PREDICTIONS
    if not path.exists():
        return "unknown"
    with np.load(path, allow_pickle=False) as stored:
        if "test_ids" not in stored.files:
            return "unknown"
        ids = "\n".join(sorted(map(str, stored["test_ids"])))
    return hashlib.sha256(ids.encode()).hexdigest()[:12]


def several_factors_table(study: StudyResults) -> Table:
    """List the arms that differ from what they are compared with in more than one factor."""
    return Table(
        name="several_factors",
        title="Arms that change more than one thing",
        columns=["arm", "factors"],
        rows=[[arm, ", ".join(factors)] for arm, factors in study.several_factors.items()],
        notes=["Their difference cannot be put down to any one of these."],
    )
