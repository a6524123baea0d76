"""Two arms compared over fresh runs and fresh cells, from the predictions that their runs left.

docs/statistics.md explains the interval; `stats.crossed` computes it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.cells import Labels, read_reported
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.same_cells import NEEDS_RUNS
from leadline.report.folds import folders_of, folds_of
from leadline.runs import record
from leadline.runs.record import ReportedBatches
from leadline.runs.records import read_settings
from leadline.stats import Equivalence, Flag, Interval, metrics
from leadline.stats.crossed import (
    CrossedComparison,
    SpeaksFor,
    Warn,
    compare_arms,
    speaks_for,
    too_few_donors,
    variance_shares,
)
from leadline.stats.influence import (
    METRICS,
    Influences,
    influences,
    mean_influences,
    nothing_like,
)
from leadline.stats.metrics import log_losses
from leadline.stats.seeds_and_cells import detectable

NAME = "crossed"
METHOD = "over fresh runs and fresh cells"
UNTOLD = "it cannot be told for fresh cells"
# The mean over cells of a loss; class averages and accuracy of the hard classes, and what they are.
LOSS, WITHIN_HARD = "log_loss", "f1_hard_cells"
OF_HARD_CLASSES = {"acc_hard": "accuracy", "f1_hard": "macro_f1", WITHIN_HARD: "macro_f1"}
# One cell moves these a little: they have a variance over cells. Calibration error has bins.
SMOOTH = (*METRICS, LOSS, *OF_HARD_CLASSES)
# The records of a run, one or those of its folds, and when their predictions were written.
StampedRun: TypeAlias = tuple[tuple[Path, ...], tuple[int, ...]]


def over_fresh_cells(same: ArmComparison, runs_dir: Path, margin: float) -> ArmComparison:
    """Let the comparison over fresh runs and cells decide; tests over runs stay beside it.

    Where it cannot be made nothing decides: a test over runs alone takes an accident of the
    held-out cells for a fact.
    """
    beside = dict(same.others)
    if same.p is not None:
        beside = {same.test: same.p} | beside
    try:
        found = compare_sides(same.a, same.b, runs_dir, margin)
    except UserError as error:
        shown = same.a.metric not in SMOOTH
        why = error.rule if shown else f"{UNTOLD}: {error.rule}"
        only = () if shown else (Flag("same_cells_only", "warning", why, {}),)
        return replace(
            same,
            test="",
            interval=None,
            p=None,
            equivalence=None,
            others=beside,
            why=why,
            flags=(*same.flags, *only),
        )
    unknown = donors_unknown(same.a, same.b, found, runs_dir)
    tests = dict(same.tests)
    if found.tested:
        tests[NAME] = PValue.of(found.p)
        tests[f"tost_{NAME}"] = PValue.of(found.p_equivalent)
    return replace(
        same,
        test=NAME,
        interval=interval_of(found),
        p=found.p if found.tested else None,
        tests=tests,
        others=beside,
        equivalence=equivalence_of(found) if found.tested else None,
        detectable=detectable(found.parts),
        flags=(*same.flags, *flags_of_cells(same.a, same.b, found), *unknown),
        why="" if found.tested else NEEDS_RUNS,
        parts=found.parts,
        speaks_for=f"{found.words}; donors unknown" if unknown else found.words,
        shares=variance_shares(found.parts),
    )


def compare_sides(a: ArmRuns, b: ArmRuns, runs_dir: Path, margin: float) -> CrossedComparison:
    """Compare two arms whose runs report on the same cells.

    Raises
    ------
    UserError
        When the metric has no such form, predictions are missing, or runs report on other cells.
    """
    if a.metric not in SMOOTH:
        raise UserError(
            f"{metrics.title(a.metric)} is shown, not tested",
            got=a.metric,
            remedy=f"compare by one of {', '.join(SMOOTH)}",
        )
    paired = _is_paired(a, b)
    chosen = [_runs_of(side, runs_dir, paired) for side in (a, b)]
    held_out = [_donors_of(runs) for runs in chosen]
    known = min(count for count, _ in held_out)
    speaks = speaks_for(known or None, any_trained_on=any(learnt for _, learnt in held_out))
    arms = [_influences(runs, a.metric, speaks is SpeaksFor.DONORS) for runs in chosen]
    if arms[0][1] != arms[1][1]:
        raise _other_cells()
    return compare_arms(
        arms[0][0],
        arms[1][0],
        paired=paired,
        margin=margin,
        luck_a=not a.without_luck,
        luck_b=not b.without_luck,
        folds=folds_of([*a.records, *b.records]),
        speaks=speaks,
    )


def interval_of_mean(side: ArmRuns, runs_dir: Path) -> Interval | None:
    """Give the 95 % interval of an arm's mean score over fresh runs and fresh cells.

    None where it cannot be told: predictions are missing, or one run of a model with luck is all.
    """
    try:
        runs = _runs_of(side, runs_dir, paired=False)
        donors, learnt = _donors_of(runs)
        speaks = speaks_for(donors or None, any_trained_on=learnt)
        arm, _ = _influences(runs, side.metric, speaks is SpeaksFor.DONORS)
    except UserError:
        return None
    found = compare_arms(
        arm,
        nothing_like(arm),
        luck_a=not side.without_luck,
        luck_b=False,
        folds=folds_of(side.records),
        speaks=speaks,
    )
    return interval_of(found) if found.tested else None


def interval_of(found: CrossedComparison) -> Interval:
    """Give the 95 % interval, and what it is of."""
    return Interval(found.low, found.high, 0.95, METHOD)


def equivalence_of(found: CrossedComparison) -> Equivalence:
    """Give the two one-sided tests at the margin; the family decides whether they suffice."""
    return Equivalence(
        test=f"tost_{NAME}",
        margin=found.margin,
        estimate=found.parts.estimate,
        p=found.p_equivalent,
        p_above_lower=found.p_above_lower,
        p_below_upper=found.p_below_upper,
        interval=Interval(found.equivalence_low, found.equivalence_high, 0.90, METHOD),
        equivalent=found.p_equivalent < 0.05,
    )


def flags_of_cells(a: ArmRuns, b: ArmRuns, found: CrossedComparison) -> tuple[Flag, ...]:
    """Give what must be known beside a verdict."""
    return tuple(
        _few_donors(a, b, found, warn)
        if warn.name == "few_donors"
        else Flag(warn.name, "warning", warn.sentence, {})
        for warn in found.warnings
    )


def _few_donors(a: ArmRuns, b: ArmRuns, found: CrossedComparison, warn: Warn) -> Flag:
    """Add what can be said of these donors where nothing can be of fresh ones."""
    numbers, sentence = {"donors": float(found.parts.donors)}, warn.sentence
    if too_few_donors(found.parts):
        low, high = found.of_these_donors
        numbers |= {"of_these_donors_low": low, "of_these_donors_high": high}
        sentence = (
            f"{a.arm} less {b.arm} in {metrics.title(a.metric)}: {sentence}; of these donors "
            f"{low:+.4f} to {high:+.4f} (95 %)"
        )
    return Flag(warn.name, "warning", sentence, numbers)


def donors_unknown(
    a: ArmRuns, b: ArmRuns, found: CrossedComparison, runs_dir: Path
) -> tuple[Flag, ...]:
    """Note arms whose data set names a batch column, and whose records do not hold the batches."""
    if found.speaks is not SpeaksFor.CELLS:
        return ()
    folders = [folders_of(side.records[0], runs_dir)[0] for side in (a, b)]
    if not any(_names_batches(folder) for folder in folders):
        return ()
    sentence = (
        "donors unknown: records made before they held the batch of each reported cell say nothing "
        "of fresh donors; delete them and run them again"
    )
    return (Flag("donors_unknown", "note", sentence, {}),)


@lru_cache(maxsize=512)
def _names_batches(folder: Path) -> bool:
    return read_settings(folder).get("data", {}).get("batch") is not None


def _is_paired(a: ArmRuns, b: ArmRuns) -> bool:
    """Say whether each seed drew one labelled subset for both arms, so that their runs are pairs.

    Seeds that merely share a number are no pair.
    """
    subsets_differ = a.fraction == b.fraction < 1 and not (a.fixed or b.fixed)
    return subsets_differ and a.values.size > 1 and set(a.seeds) == set(b.seeds)


def _runs_of(side: ArmRuns, runs_dir: Path, paired: bool) -> tuple[StampedRun, ...]:
    """Choose the runs that count: of a model without luck on the same cells, one."""
    records = sorted(side.records, key=lambda facts: int(facts["seed"])) if paired else side.records
    if side.fixed:
        records = records[:1]
    replicates = (folders_of(facts, runs_dir) for facts in records)
    return tuple((folders, _stamp(folders)) for folders in replicates)


def _stamp(folders: tuple[Path, ...]) -> tuple[int, ...]:
    paths = [folder / record.PREDICTIONS for folder in folders]
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


@lru_cache(maxsize=256)
def _donors_of(runs: tuple[StampedRun, ...]) -> tuple[int, bool]:
    """Count the reported donors, 0 where a record lacks them, and say if any was learnt from."""
    batches = [_read(*run).batches for run in runs]
    known = [each for each in batches if each is not None]
    if len(known) < len(batches):
        return 0, False
    return len(known[0].names), any(bool(each.trained_on_B.any()) for each in known)


@lru_cache(maxsize=256)
def _influences(
    runs: tuple[StampedRun, ...], metric: str, by_donor: bool
) -> tuple[Influences, bytes]:
    """Compute the influences of an arm, and tell which cells they are of."""
    calls = [_read(*run) for run in runs]
    if len({each.cells for each in calls}) > 1:
        raise _other_cells()
    first = calls[0]
    truth_N, classes = first.truth_C, first.classes
    donors_N = first.batches.code_C if by_donor and first.batches is not None else None
    called_RN = np.stack([each.called_C for each in calls])
    if metric == LOSS:
        losses_RN = np.stack([each.loss_C for each in calls])
        return mean_influences(losses_RN, donors_N=donors_N), first.cells
    named, kind = None, metric
    if metric in OF_HARD_CLASSES:
        named, kind = _hard_classes(runs[0][0][0], classes), OF_HARD_CLASSES[metric]
        if metric == WITHIN_HARD:
            inside_N = np.isin(truth_N, named)
            truth_N, called_RN = truth_N[inside_N], called_RN[:, inside_N]
            donors_N = None if donors_N is None else donors_N[inside_N]
    found = influences(truth_N, called_RN, kind, named=named, donors_N=donors_N)
    # Warnings name classes.
    sizes = {str(classes[code]): count for code, count in found.class_sizes.items()}
    return replace(found, class_sizes=sizes), first.cells


def _hard_classes(folder: Path, classes: Labels) -> list[int]:
    """Read the codes of the classes that the run's settings call hard."""
    named = read_settings(folder).get("data", {}).get("hard_classes") or []
    codes = [int(code) for code in np.flatnonzero(np.isin(classes, named))]
    if not codes:
        raise UserError(
            "a metric of hard classes needs to be told which they are",
            got=f"none in {folder / record.CONFIG}",
            remedy="name them in data.hard_classes and run again",
        )
    return codes


@dataclass(frozen=True, slots=True)
class _CallsOfRun:
    """What is kept of a run: truth and calls as codes, the loss of each cell, and a digest.

    `cells` tells these cells, with their classes, from others.
    """

    truth_C: Labels
    called_C: Labels
    loss_C: Labels
    classes: Labels
    batches: ReportedBatches | None
    cells: bytes


@lru_cache(maxsize=600)
def _read(folders: tuple[Path, ...], stamp: tuple[int, ...]) -> _CallsOfRun:
    """Read what a run, or its folds, called the cells."""
    found = read_reported(*folders)
    named = "\x1f".join([*map(str, found.classes), "\x1e", *map(str, found.ids)])
    return _CallsOfRun(
        truth_C=found.truth_C,
        called_C=found.called_C,
        loss_C=log_losses(found.truth_C, found.proba_CK),
        classes=found.classes,
        batches=found.batches,
        cells=hashlib.sha256(named.encode() + found.truth_C.tobytes()).digest(),
    )


def _other_cells() -> UserError:
    return UserError(
        "runs must report on the same cells to be compared over fresh cells",
        got="runs that report on different cells",
        remedy="compare runs of one split",
    )
