"""`leadline compare A B`: how two or more runs, or arms, differ over fresh runs and fresh cells.

Of two runs also what was set differently, and which cells were called differently.

Shapes: C cells that both runs reported on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leadline.cli.live_table import aligned
from leadline.cli.show import UNTOLD, flat
from leadline.errors import UserError
from leadline.runs import record
from leadline.runs.records import find_run, read_settings, require_done
from leadline.stats import metrics, tests
from leadline.stats.paired_predictions import mcnemar

if TYPE_CHECKING:
    from leadline.report.compare.arms import ArmRuns
    from leadline.report.compare.comparison import ArmComparison
    from leadline.report.study import StudyResults

EXCHANGES_SHOWN = 8
MARGIN = 0.01
# What is said of each share of the variance of a difference.
SOURCES = {
    "runs": "pairs of runs",
    "runs_a": "runs of {a}",
    "runs_b": "runs of {b}",
    "cells": "which cells are held out",
    "donors": "which donors are held out",
    "noise": "run × cell noise",
}
Place = tuple[str, float]
EVERYWHERE: Place = ("", 1.0)
Group = list[tuple[Path, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What two runs said of the same cells, and how many cells only one of them reported on."""

    truth_C: NDArray[np.int64]
    first_C: NDArray[np.int64]
    second_C: NDArray[np.int64]
    classes: tuple[str, ...]
    alone: tuple[int, int]


def compared(words: Sequence[str], runs_dir: Path) -> list[str]:
    """Give what tells runs or arms apart; each of the others is compared with the first."""
    if len(words) < 2:
        raise UserError(
            "a comparison needs two runs or arms", got=" ".join(words), remedy="name another"
        )
    studies = None
    found = []
    for word in words:
        folder = exact_run(word, runs_dir)
        if folder is None:
            studies = studies_of(runs_dir) if studies is None else studies
            found.append(runs_of_arm(word, studies, runs_dir) or one_run(find_run(word, runs_dir)))
        else:
            found.append(one_run(folder))
    if all(len(places) == 1 for places in found):
        # Runs and arms of one share of the labels each: the held-out cells decide if they fit.
        found = [dict.fromkeys([EVERYWHERE], *places.values()) for places in found]
    shared = [place for place in found[0] if all(place in other for other in found[1:])]
    if not shared:
        raise UserError(
            "what is compared must have runs on the same data and share of the labels",
            got="; ".join(f"{w}: {_places(f)}" for w, f in zip(words, found, strict=True)),
            remedy="choose others, or run what is missing",
        )
    names = [chr(ord("A") + at) for at in range(len(words))]
    lines: list[str] = []
    for place in shared:
        groups = [other[place] for other in found]
        lines += [f"{place[0]}, {place[1]:.0%} of the labels", ""] if len(shared) > 1 else []
        for name, word, group in zip(names, words, groups, strict=True):
            runs = group[0][1]["run_id"] if len(group) == 1 else f"{word}, {len(group)} runs"
            lines.append(f"{name}  {runs}")
        details = [len(group) == 1 for group in groups] == [True, True]
        folders = [group[0][0] for group in groups]
        if details:
            facts = [group[0][1] for group in groups]
            lines += ["", *settings(*folders), "", *inputs(*facts), ""]
            lines += scores(*(one["metrics"]["test"] for one in facts))
        if unnamed := _without_classes(groups):
            lines += ["", f"cell by cell there is nothing to compare: {unnamed} cells"]
            continue
        lines += ["", *verdicts(names, groups)]
        if details:
            lines += ["", *cells(paired(*folders))]
        lines.append("")
    return lines if lines[-1] else lines[:-1]


def _without_classes(groups: Sequence[Group]) -> str:
    """Name runs that named no classes of cells; refuse them where more than two are compared."""
    from leadline.report.study import is_classified

    unnamed = [group[0][0] for group in groups if not is_classified(group[0][1])]
    if unnamed and len(groups) > 2:
        raise UserError(
            "more than two runs are compared by the classes that they name",
            got=f"{unnamed[0].name}, which names none",
            remedy="compare two, or see `leadline show` of each",
        )
    if len(unnamed) == 2:
        return "neither run named"
    return f"{unnamed[0].name} did not name" if unnamed else ""


def _places(found: Mapping[Place, Any]) -> str:
    return ", ".join(f"{dataset} {fraction:.0%}" for dataset, fraction in found)


def exact_run(word: str, runs_dir: Path) -> Path | None:
    """Give the run that a word names in full, by its folder or its id."""
    places = (Path(word).expanduser(), runs_dir / word)
    return next((place for place in places if (place / record.CONFIG).is_file()), None)


def studies_of(runs_dir: Path) -> list[StudyResults]:
    """Read the studies of a folder, and its runs of none; empty where nothing is finished."""
    from leadline.report.study import gather

    states = map(record.state, runs_dir.glob("*")) if runs_dir.is_dir() else ()
    finished = any(state is record.State.DONE for state in states)
    return gather(runs_dir, (), MARGIN) if finished else []


def one_run(folder: Path) -> dict[Place, Group]:
    """Give one finished run under its data set and share of the labels."""
    from leadline.config.tasks import ARRAYS, TASKS
    from leadline.report.study import is_classified

    require_done(folder)
    facts = record.read_facts(folder)
    scored = is_classified(facts) or TASKS[facts.get("task", "classify")].product == ARRAYS
    if not scored:
        raise UserError(
            "runs are compared by the classes that they name",
            got=f"{folder.name}, which names none",
            remedy="`leadline show` tells what a pretraining run came to",
        )
    return {(str(facts["dataset"]), float(facts["fraction"])): [(folder, facts)]}


def runs_of_arm(word: str, studies: Sequence[StudyResults], runs_dir: Path) -> dict[Place, Group]:
    """Give the finished runs of an arm, by data set and share of the labels; empty if none.

    It is written as a report calls it, or as model/arm.
    """
    arms: dict[Place, set[tuple[str, ...]]] = {}
    known: dict[str, dict[str, Any]] = {}
    for study in studies:
        named: dict[Place, list[str]] = {}
        for facts in study.records:
            if word in (facts["arm"], f"{facts['model']}/{facts['arm']}"):
                known[facts["run_id"]] = dict(facts)
                place = (str(facts["dataset"]), float(facts["fraction"]))
                named.setdefault(place, []).append(str(facts["run_id"]))
        for place, ids in named.items():
            arms.setdefault(place, set()).add(tuple(ids))
    if several := [place for place, runs in arms.items() if len(runs) > 1]:
        raise UserError(
            "an arm must be called so by one study",
            got=f"{word}, which stands for other runs in other studies ({_places(dict(arms))})",
            remedy=f"name runs, for example {min(*arms[several[0]])[0]}",
        )
    return {
        place: [(runs_dir / run_id, known[run_id]) for run_id in next(iter(runs))]
        for place, runs in arms.items()
    }


def verdicts(names: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """Say how the first differs from each of the others, over fresh runs and fresh cells."""
    from leadline.report.compare.comparison import corrected_family

    lines: list[str] = []
    for metric in metrics.HEADLINE:
        sides = [_side(group, metric) for group in groups]
        others = zip(names[1:], sides[1:], strict=True)
        family = {name: _compare(sides[0], other) for name, other in others}
        for name, each in corrected_family(family).items():
            lines += _told(each, names[0], name)
    return lines


def _side(group: Group, metric: str) -> ArmRuns:
    from leadline.report.compare.arms import condition_of, of_records

    # Folders of runs may lie apart: a run is found by its whole path.
    records = [facts | {"run_id": str(folder.resolve())} for folder, facts in group]
    return of_records(condition_of(records[0], metric), records)


def _compare(a: ArmRuns, b: ArmRuns) -> ArmComparison:
    from leadline.report.compare.comparison import ArmComparison
    from leadline.report.compare.fresh_cells import over_fresh_cells

    return over_fresh_cells(ArmComparison(a=a, b=b), Path("/"), MARGIN)


def _told(each: ArmComparison, a: str, b: str) -> Iterator[str]:
    """Say one difference: how large, how sure, for what, and where its variance comes from."""
    what = f"{metrics.title(each.a.metric)}, {a} - {b}: {each.estimate:+.4f}"
    if each.interval is None:
        yield f"{what}; {each.why}"
        return
    ends = f"95 % interval {each.interval.low:+.4f} to {each.interval.high:+.4f}"
    p = ""
    if each.p is not None and each.corrected is not None:
        p = f", p = {each.p:.3g}"
        p += f" ({each.corrected:.3g} after Holm’s correction)" if each.family_size > 1 else ""
    yield f"{what}, {ends}{p}: {each.verdict}"
    shares = [
        f"{share:.0%} {SOURCES[source].format(a=a, b=b)}"
        for source, share in each.shares.items()
        if share > 0
    ]
    told = ", ".join(shares) or "none, every call is the same"
    yield f"  {each.speaks_for}; its variance: {told}"
    for flag in each.flags:
        yield f"  {flag.sentence}"


def settings(first: Path, second: Path) -> list[str]:
    """Give the settings that differ."""
    a, b = flat(read_settings(first)), flat(read_settings(second))
    # What only one of two models has to be told is no difference between them.
    keys = [key for key in a if key in b and key.partition(".")[0] not in UNTOLD]
    rows = [(key, str(a[key]), str(b[key])) for key in keys if a[key] != b[key]]
    if not rows:
        return ["settings: the same"]
    return ["settings that differ:", *aligned([("", "A", "B"), *rows], "  ")]


def inputs(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Say whether both worked on the same cells and the same split."""
    same_data = a["data"]["fingerprint"] == b["data"]["fingerprint"]
    same_split = a["split"]["fingerprint"] == b["split"]["fingerprint"]
    return [
        f"cells: {'the same' if same_data else 'NOT the same (data fingerprints differ)'}; "
        f"split: {'the same' if same_split else 'not the same'}"
    ]


def scores(a: Mapping[str, float], b: Mapping[str, float]) -> list[str]:
    """Put the metrics of the reported cells side by side."""
    both = [name for name in a if name in b and a[name] is not None and b[name] is not None]
    rows = [(n, f"{a[n]:.4f}", f"{b[n]:.4f}", f"{a[n] - b[n]:+.4f}") for n in both]
    return aligned([("metric", "A", "B", "A - B"), *rows], "  ")


def paired(first: Path, second: Path) -> Paired:
    """Bring the reported cells of two runs together by their ids."""
    (one, classes_a), (two, classes_b) = (record.read_predictions(x) for x in (first, second))
    a, b = one["test"], two["test"]
    shared, rows_a, rows_b = np.intersect1d(a.ids, b.ids, return_indices=True)
    if not len(shared):
        raise UserError(
            "two runs can be compared on cells that both reported on",
            got=f"none in common among {len(a.ids):,} and {len(b.ids):,}",
            remedy="choose runs on the same cells and the same protocol.split_seed",
        )
    classes = tuple(sorted({*classes_a, *classes_b}))
    place_a, place_b = (np.array([classes.index(c) for c in own]) for own in (classes_a, classes_b))
    truth_C, other_C = place_a[a.truth_C[rows_a]], place_b[b.truth_C[rows_b]]
    if (truth_C != other_C).any():
        raise UserError(
            "two runs must agree on what is true of the cells that they share",
            got=f"other labels for {np.count_nonzero(truth_C != other_C):,} of {len(shared):,}",
            remedy="compare runs with the same data.label",
        )
    return Paired(
        truth_C=truth_C,
        first_C=place_a[a.predicted_C[rows_a]],
        second_C=place_b[b.predicted_C[rows_b]],
        classes=classes,
        alone=(len(a.ids) - len(shared), len(b.ids) - len(shared)),
    )


def cells(both: Paired) -> list[str]:
    """Say on how many cells two runs differ, whether that is chance, and in which classes."""
    right_a, right_b = both.first_C == both.truth_C, both.second_C == both.truth_C
    count = len(both.truth_C)
    rows = [
        ("both right", f"{(right_a & right_b).sum():,}"),
        ("only A right", f"{(right_a & ~right_b).sum():,}"),
        ("only B right", f"{(~right_a & right_b).sum():,}"),
        ("both wrong", f"{(~right_a & ~right_b).sum():,}"),
    ]
    alone = f"; only A reported on {both.alone[0]:,} more, only B on {both.alone[1]:,}"
    lines = [f"{count:,} cells that both reported on{alone if any(both.alone) else ''}:"]
    lines += [*aligned(rows, "  "), *judged(both)]
    return [*lines, *exchanges(both)]


def judged(both: Paired) -> list[str]:
    """Test whether one run is right more often than the other on the same cells."""
    if np.array_equal(both.first_C, both.second_C):
        return ["  every cell is called the same"]
    if not ((both.first_C == both.truth_C) != (both.second_C == both.truth_C)).any():
        return []
    test = mcnemar(both.truth_C, both.first_C, both.second_C)
    told = f"p = {test.p:.3g} ({test.method}), of these two trained models only"
    return [f"  {tests.title('mcnemar')}: {told}"]


def exchanges(both: Paired) -> list[str]:
    """Give the calls that differ most often: truth, what A says, what B says."""
    differ = np.flatnonzero(both.first_C != both.second_C)
    if not len(differ):
        return []
    triples = zip(both.truth_C[differ], both.first_C[differ], both.second_C[differ], strict=True)
    common = Counter((int(t), int(a), int(b)) for t, a, b in triples).most_common(EXCHANGES_SHOWN)
    rows = [(f"{n:,}", *(both.classes[k] for k in triple)) for triple, n in common]
    return [
        "",
        f"{len(differ):,} cells are called differently, most often:",
        *aligned([("cells", "truth", "A says", "B says"), *rows], "  "),
    ]


def call(chosen: argparse.Namespace) -> int:
    """Print the differences."""
    print("\n".join(compared(chosen.names, chosen.runs)))
    return 0
