"""Which figures a study has runs for, and how they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from leadline.config import registry
from leadline.errors import UserError
from leadline.report import figure_data, figures
from leadline.report.answer import capitalised, is_control, spaced, title_of
from leadline.report.compare.arms import Condition, sides_of
from leadline.report.compare.comparison import ALPHA, ArmComparison, PValue
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.setting import ClaimSettings
from leadline.report.compare.study import leading
from leadline.report.figures import Drawing, Tests
from leadline.report.reference import Reference
from leadline.report.study import Facts, StudyResults
from leadline.report.tables import Table
from leadline.stats import metrics

Builder = Callable[..., Drawing]
# The picture of the answer, and the figure of other places: they have rooms of their own.
ANSWER, WHERE = "estimation", "where"
# Panels of one figure; the arms of a study that has more are in its tables.
MOST_ARMS, MOST_DATASETS = 6, 4
# Figures below the answer that are drawn once, for wide windows and phones alike.
ONE_WIDTH = ("learning_curves", "per_class", "confusion", "calibration", "cost", "cells")
BATCH = re.compile(r"batch_(\d+)")
# Of figures that are drawn for each of several data sets.
TITLES = {
    "learning_curves": "Learning curves of every run",
    "per_class": "F1 of each class",
    "confusion": "What cells of each class were called",
    "cells": "Which cells either arm gets right",
    "calibration": "How far confidence can be trusted",
    "cost": "What the score costs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A figure for wide windows and for phones, or one for both; `fixed`: colours mean numbers."""

    wide: Drawing
    narrow: Drawing | None
    fixed: bool = False


def draw_all(
    study: StudyResults,
    found: Sequence[ArmComparison],
    runs_dir: Path,
    beside: bool,
    reference: Reference | None = None,
) -> tuple[list[Drawn], dict[str, str]]:
    """Draw every figure that the runs of a study allow; give the others' reasons by name."""
    drawn, skipped = [], {}
    names = _artefacts(study, reference)
    for name, builder in _builders(study, found, runs_dir, beside, reference).items():
        kind = name.partition("_of_")[0]
        called = {"name": name} | names.get(kind, {})
        if "_of_" in name:
            called["name"] += name.removeprefix(kind) if kind in names else ""
            called["title"] = f"{called.get('title', TITLES[kind])}, {name.partition('_of_')[2]}"
        fixed = kind == "confusion"
        try:
            if kind in ONE_WIDTH:
                once = builder(width=figures.MIDDLE, **called)
                drawn.append(Drawn(wide=once, narrow=None, fixed=fixed))
                continue
            wide = builder(width=figures.WIDE, **called)
            narrow = builder(width=figures.NARROW, **called)
            drawn.append(Drawn(wide=wide, narrow=narrow, fixed=fixed))
        except UserError as error:
            skipped[called["name"]] = str(error)
    return drawn, skipped


def drawn(builders: Mapping[str, Builder]) -> tuple[list[Drawn], dict[str, str]]:
    """Draw figures for wide windows and for phones; give the others' reasons by name."""
    found, skipped = [], {}
    for name, builder in builders.items():
        try:
            wide = builder(width=figures.WIDE, name=name)
            narrow = builder(width=figures.NARROW, name=name)
            found.append(Drawn(wide=wide, narrow=narrow))
        except UserError as error:
            skipped[name] = str(error)
    return found, skipped


def _artefacts(study: StudyResults, reference: Reference | None) -> dict[str, dict[str, str]]:
    """Give the figures that repeat one of the paper's its name and title."""
    found: dict[str, dict[str, str]] = {}
    known = {} if reference is None else reference.figures
    for artefact in study.artefacts:
        if artefact in known:
            kind, name, title = known[artefact]
            found.setdefault(kind, {"name": name, "title": title})
    return found


def _builders(
    study: StudyResults,
    found: Sequence[ArmComparison],
    runs_dir: Path,
    beside: bool,
    reference: Reference | None,
) -> dict[str, Builder]:
    builders: dict[str, Builder] = {}
    if study.records:
        builders |= _of_scores(study, found, beside, reference)
        for dataset in list(dict.fromkeys(f["dataset"] for f in study.records))[:MOST_DATASETS]:
            inside = [facts for facts in study.records if facts["dataset"] == dataset]
            end = f"_of_{dataset}" if len(inside) < len(study.records) else ""
            most = max(float(facts["fraction"]) for facts in inside)
            full = [facts for facts in inside if float(facts["fraction"]) == most]
            builders |= {
                f"{name}{end}": builder
                for name, builder in _of_predictions(study, found, full, runs_dir).items()
            }
    if study.pretraining:
        read = figure_data.curves(study.pretraining, runs_dir)
        names = list(dict.fromkeys(name for curve in read for name in curve.scores))
        shown = [name for name in names if name != "lr" and not name.endswith("seconds")][:4]
        builders["pretraining_curves"] = partial(
            figures.learning_curves, read, metrics=shown, title="Learning curves of pre-training"
        )
    return builders


def _of_scores(
    study: StudyResults, found: Sequence[ArmComparison], beside: bool, reference: Reference | None
) -> dict[str, Builder]:
    """Build what needs no more than the scores of runs."""
    evidence = Evidence.of_records(study.records, study.runs_dir, metrics=study.metrics)
    setting = ClaimSettings() if reference is None else reference.setting
    asked: dict[str, Any] = {"metrics": study.metrics, "setting": setting}
    if reference is not None and (beside or study.published):
        asked["beside"] = reference.evidence()
    arms = list(dict.fromkeys(side.name for side in sides_of(study, study.metrics[0])))
    shares = sorted({float(facts["fraction"]) for facts in study.records})
    full: dict[str, Any] = {"tests": tests_of(found, shares[-1:])}
    builders: dict[str, Builder] = {}
    if found:
        first = leading(found)
        builders[ANSWER] = partial(
            figures.estimation,
            [_contrast(study, each) for each in first],
            score=metrics.title(first[0].a.metric),
            margin=_margin(study, first),
        )
        placed = [_placed(study, each) for each in _by_place(found)]
        if len({each.panel for each in placed}) > 1:
            builders[WHERE] = partial(figures.where_it_holds, placed, margin=_margin(study, first))
    if not found or "beside" in asked or (reference and _artefacts(study, reference).get("runs")):
        # Else the picture of the answer has every run.
        builders["runs"] = partial(
            figures.every_run, evidence, arms=arms, fraction=shares[-1], **full, **asked
        )
    if len(shares) > 1:
        builders["few_shot"] = partial(
            figures.few_shot, evidence, arms=arms, tests=tests_of(found, shares), **asked
        )
    sizes = batch_sizes(study)
    if len(set(sizes.values())) > 1:
        builders["batch_size"] = partial(
            figures.batch_size, evidence, sizes, fraction=shares[-1], **full, **asked
        )
    return builders


def _of_predictions(
    study: StudyResults, found: Sequence[ArmComparison], records: Sequence[Facts], runs_dir: Path
) -> dict[str, Builder]:
    """Build what needs learning curves, classes or predictions, of one data set."""
    order = {arm: at for at, arm in enumerate(study.arms)}
    ordered = sorted(records, key=lambda facts: order[facts["arm"]])
    telling = [facts for facts in ordered if registry.named(facts["model"]).family != "control"]
    arms = list(figure_data.by_arm(telling))[:MOST_ARMS]
    few = [facts for facts in telling if figure_data.called(facts) in arms]
    read = figure_data.curves(few, runs_dir)
    scores, cells = figure_data.classes(few)
    builders: dict[str, Builder] = {}
    if read:
        builders["learning_curves"] = partial(figures.learning_curves, read)
    if scores:
        builders["per_class"] = partial(figures.per_class, scores, cells)
    pair = telling_pair(found, records)
    two = few if pair is None else [f for f in telling if figure_data.called(f) in pair]
    matrices, names = figure_data.confusions(two, runs_dir)
    if matrices:
        less = pair if pair is not None and set(pair) <= set(matrices) else None
        builders["confusion"] = partial(figures.confusion, matrices, names, less=less)
    if pair is not None:
        map_ = figure_data.cell_map_of(two, pair, _titles(study, found, pair), runs_dir)
        if map_ is not None:
            builders["cells"] = partial(figures.cell_map, map_)
    if few:
        runs = figure_data.reliabilities(few, runs_dir)
        builders["calibration"] = partial(figures.calibration, runs)
    metric = study.metrics[0]
    spent, processor = figure_data.spent(ordered, metric)
    if any(each.hours > 0 for each in spent):
        builders["cost"] = partial(
            figures.cost, spent, score=metrics.title(metric), processor=processor
        )
    return builders


def telling_pair(
    found: Sequence[ArmComparison], records: Sequence[Facts]
) -> tuple[str, str] | None:
    """Choose the pair of arms whose cells are looked at: shown to differ, else most apart.

    Controls do not count; None where nothing is compared on these records.
    """
    here = {figure_data.called(facts) for facts in records}
    asked = [
        each
        for each in leading(found)
        if not is_control(each) and {each.a.name, each.b.name} <= here
    ]
    if not asked:
        return None
    chosen = max(asked, key=lambda each: (each.verdict in ("better", "worse"), abs(each.estimate)))
    return chosen.a.name, chosen.b.name


def _titles(
    study: StudyResults, found: Sequence[ArmComparison], pair: tuple[str, str]
) -> tuple[str, str]:
    """Name the arms of a pair as people do."""
    known = {side.name: title_of(study, side) for each in found for side in (each.a, each.b)}
    return known[pair[0]], known[pair[1]]


def batch_sizes(study: StudyResults) -> dict[str, int]:
    """Give the batch size of each arm that is named after it, and of the reference beside them."""
    sizes: dict[str, int] = {}
    for facts in study.records:
        named = BATCH.fullmatch(str(facts["arm"]))
        if named:
            sizes[figure_data.called(facts)] = int(named[1])
    models = {arm.partition("/")[0] for arm in sizes}
    for facts in study.records:
        size = study.configs.get(facts["run_id"], {}).get("train.batch_size")
        if facts["arm"] == study.reference and facts["model"] in models and size:
            sizes[figure_data.called(facts)] = int(size)
    return sizes


def _margin(study: StudyResults, found: Sequence[ArmComparison]) -> float:
    """Give the margin where the metric is one that it was declared for."""
    return study.margin if metrics.ROWS[found[0].a.metric].in_points else 0.0


def _contrast(study: StudyResults, each: ArmComparison) -> figures.Contrast:
    return figures.Contrast(
        arm=each.a.name,
        against=each.b.name,
        title=capitalised(title_of(study, each.a)),
        title_against=capitalised(title_of(study, each.b)),
        a=each.a.values,
        b=each.b.values,
        interval=each.interval,
        verdict=each.verdict,
    )


def _by_place(found: Sequence[ArmComparison]) -> list[ArmComparison]:
    """Put the first metric's comparisons before others, the most labels before fewer."""
    order = list(dict.fromkeys(each.a.metric for each in found))
    data = list(dict.fromkeys(each.a.dataset for each in found))
    return sorted(
        (each for each in found if metrics.ROWS[each.a.metric].in_points),
        key=lambda each: (
            order.index(each.a.metric),
            data.index(each.a.dataset),
            -each.a.fraction,
        ),
    )


def _against(study: StudyResults, each: ArmComparison) -> str:
    """Name an arm, and what it is measured against where that is not the study's reference."""
    name = title_of(study, each.a)
    return name if each.b.arm == study.reference else f"{name} − {title_of(study, each.b)}"


def _placed(study: StudyResults, each: ArmComparison) -> figures.PlacedDifference:
    several = len({str(facts["dataset"]) for facts in study.records}) > 1
    labels = f"{each.a.fraction:.0%} of labels"
    where = f"{spaced(each.a.dataset)}, {labels}" if several else labels
    return figures.PlacedDifference(
        panel=f"{capitalised(metrics.title(each.a.metric))}\n{where}",
        label=_against(study, each),
        estimate=each.estimate,
        low=None if each.interval is None else each.interval.low,
        high=None if each.interval is None else each.interval.high,
        verdict=each.verdict,
        primary=each.a.metric == study.metrics[0],
    )


def tests_of(found: Sequence[ArmComparison], shares: Sequence[float]) -> Tests:
    """Give the tests of the verdict table to a figure, so that a page has one p of a pair.

    Only tests at the shares of the labels that the figure shows are named.
    """
    by_pair: dict[tuple[Condition, Condition], PValue] = {}
    for each in found:
        if each.corrected is not None:
            cells = [
                Condition(side.dataset, side.model, side.arm, side.fraction, side.metric)
                for side in (each.a, each.b)
            ]
            by_pair[cells[0], cells[1]] = PValue(each.corrected, each.corrected, each.corrected)
    shown = [each for each in found if each.test and each.a.fraction in shares]
    names = list(dict.fromkeys(each.test for each in shown))
    # Each metric is a family of its own.
    family = max((each.family_size for each in shown), default=0)
    told = f"p: {' or '.join(names)}, Holm over {family}"
    return Tests(name=told, by_pair=by_pair, alpha=ALPHA)


def paper_tables(study: StudyResults, reference: Reference | None) -> list[Table]:
    """Lay out the tables of the paper that the study names among its artefacts."""
    if reference is None or not reference.lays_out(study.artefacts):
        return []
    evidence = Evidence.of_records([*study.records, *study.pretraining], study.runs_dir)
    return reference.tables(evidence, study.artefacts)
