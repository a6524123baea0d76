"""The multiverse of a study: runs whose entries in the manifest carry `choices`."""

from __future__ import annotations

import hashlib
from collections import Counter
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
UNKNOWN = "unknown"
Choices = tuple[tuple[str, str], ...]
Runs = dict[Choices, dict[int, Facts]]


def part_of(study: StudyResults) -> TaskPart | None:
    """Give all that a page says of a study's multiverse; None where no run carries choices."""
    questions, left_out = questions_of(study)
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
        skipped=left_out | refused | skipped,
    )


def questions_of(study: StudyResults) -> tuple[list[MultiverseQuestion], dict[str, str]]:
    """Ask for the effect of each declared pair of arms, by metric, data set and labels.

    Universes that report other cells than the usual one are left out; says which, and of what.
    """
    by_arm: dict[tuple[str, float, str], Runs] = {}
    for facts in study.records:
        if facts.get("choices"):
            choices = tuple((str(k), str(v)) for k, v in facts["choices"].items())
            place = (str(facts["dataset_asked"]), float(facts["fraction"]), str(facts["arm_asked"]))
            by_arm.setdefault(place, {}).setdefault(choices, {})[int(facts["seed"])] = facts
    found, left_out = [], {}
    for dataset, fraction in dict.fromkeys((dataset, share) for dataset, share, _ in by_arm):
        where = dataset if fraction == 1 else f"{dataset} {fraction:.0%}"
        for a, b in study.asked_pairs:
            ours, theirs = (by_arm.get((dataset, fraction, arm), {}) for arm in (a, b))
            if not ours or not theirs:
                continue
            other = _of_other_cells(study, ours, theirs)
            if other:
                name = slug(f"{a} {b} {where} other cells").replace("-", "_")
                left_out[name] = _said_of_cells(other, len(ours))
            kept = {choices: runs for choices, runs in ours.items() if choices not in other}
            for metric in study.metrics:
                found.append(
                    MultiverseQuestion(
                        name=slug(f"{a} {b} {where} {metric}").replace("-", "_"),
                        title=f"{a} less {b}, {metrics.title(metric)}, {where}",
                        arms=(a, b),
                        metric=metric,
                        universes=_universes(kept, theirs, metric),
                        tags=study.tags,
                        base=study.usual,
                        presets=study.presets,
                    )
                )
    return found, left_out


def _universes(ours: Runs, theirs: Runs, metric: str) -> list[Universe]:
    found = []
    for choices, runs in ours.items():
        others = _partners(choices, theirs)
        pairs: dict[Hashable, tuple[float, float]] = {
            seed: (_score(runs.get(seed), metric), _score(others.get(seed), metric))
            for seed in dict.fromkeys([*runs, *others])
        }
        found.append(Universe(choices=dict(choices), runs=pairs, metric=metric))
    return with_analyses(found) if len(found) <= MOST_ANALYSED else found


def _partners(choices: Choices, theirs: Runs) -> Mapping[int, Facts]:
    """Find the runs of the other arm: of the same choices, as far as its model knows them."""
    wanted = dict(choices)
    for known, runs in theirs.items():
        if all(wanted.get(switch) == value for switch, value in known):
            return runs
    return {}


def _score(facts: Facts | None, metric: str) -> float:
    found = None if facts is None else facts["metrics"]["test"].get(metric)
    return float("nan") if found is None else float(found)


def _of_other_cells(study: StudyResults, ours: Runs, theirs: Runs) -> list[Choices]:
    """List the universes whose runs report other cells than those of most, seed by seed."""
    known = {choices: _cells_of(study, runs, _partners(choices, theirs))
             for choices, runs in ours.items()}  # fmt: skip
    usual: dict[int, Counter[str]] = {}
    for of_seed in known.values():
        for seed, cells in of_seed.items():
            usual.setdefault(seed, Counter()).update(cells)
    most = {seed: counted.most_common(1)[0][0] for seed, counted in usual.items()}
    return [
        choices
        for choices, of_seed in known.items()
        if any(cells != {most[seed]} for seed, cells in of_seed.items())
    ]


def _cells_of(
    study: StudyResults, ours: Mapping[int, Facts], theirs: Mapping[int, Facts]
) -> dict[int, set[str]]:
    """Name the reported cells of both arms in each seed, where they are known."""
    found: dict[int, set[str]] = {}
    for of_arm in (ours, theirs):
        for seed, facts in of_arm.items():
            cells = " ".join(_reported(study, each) for each in runs_of(facts))
            if UNKNOWN not in cells:
                found.setdefault(seed, set()).add(cells)
    return found


def _said_of_cells(other: Sequence[Choices], of: int) -> str:
    words = ", ".join(f"{key}={value}" for key, value in other[0])
    return (
        f"{len(other)} of {of} universes report other cells than most do, the first with {words}: "
        "medians over different cells mean nothing, and they are left out"
    )


def _reported(study: StudyResults, facts: Facts) -> str:
    path = study.runs_dir / str(facts["run_id"]) / record.PREDICTIONS
    if not path.exists():
        return UNKNOWN
    with np.load(path, allow_pickle=False) as stored:
        if "test_ids" not in stored.files:
            return UNKNOWN
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
