"""Two arms compared over fresh runs and fresh cells, from the predictions that their runs left.

docs/statistics.md explains the interval; `stats.crossed` computes it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.cells import Labels, read_reported
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.same_cells import NEEDS_RUNS
from leadline.runs import record
from leadline.runs.records import read_settings
from leadline.stats import Equivalence, Flag, Interval, metrics
from leadline.stats.crossed import CrossedComparison, compare_arms, variance_shares
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
        flags=(*same.flags, *flags_of_cells(found)),
        why="" if found.tested else NEEDS_RUNS,
        parts=found.parts,
        speaks_for=found.words,
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
    arms = [_influences(side, runs_dir, paired) for side in (a, b)]
    if arms[0][1] != arms[1][1]:
        raise _other_cells()
    return compare_arms(
        arms[0][0],
        arms[1][0],
        paired=paired,
        margin=margin,
        luck_a=not a.without_luck,
        luck_b=not b.without_luck,
    )


def interval_of_mean(side: ArmRuns, runs_dir: Path) -> Interval | None:
    """Give the 95 % interval of an arm's mean score over fresh runs and fresh cells.

    None where it cannot be told: predictions are missing, or one run of a model with luck is all.
    """
    try:
        arm, _ = _influences(side, runs_dir, paired=False)
    except UserError:
        return None
    found = compare_arms(arm, nothing_like(arm), luck_a=not side.without_luck, luck_b=False)
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


def flags_of_cells(found: CrossedComparison) -> tuple[Flag, ...]:
    """Give what must be known beside a verdict."""
    return tuple(Flag(warn.name, "warning", warn.sentence, {}) for warn in found.warnings)


def _is_paired(a: ArmRuns, b: ArmRuns) -> bool:
    """Say whether each seed drew one labelled subset for both arms, so that their runs are pairs.

    Seeds that merely share a number are no pair.
    """
    subsets_differ = a.fraction == b.fraction < 1 and not (a.fixed or b.fixed)
    return subsets_differ and a.values.size > 1 and set(a.seeds) == set(b.seeds)


def _influences(side: ArmRuns, runs_dir: Path, paired: bool) -> tuple[Influences, bytes]:
    records = sorted(side.records, key=lambda facts: int(facts["seed"])) if paired else side.records
    if side.fixed:
        records = records[:1]
    folders = tuple(runs_dir / str(facts["run_id"]) for facts in records)
    stamps = tuple(_stamp(folder) for folder in folders)
    return _influences_of(folders, stamps, side.metric)


def _stamp(folder: Path) -> int:
    path = folder / record.PREDICTIONS
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=256)
def _influences_of(
    folders: tuple[Path, ...], stamps: tuple[int, ...], metric: str
) -> tuple[Influences, bytes]:
    """Compute the influences of an arm, and tell which cells they are of."""
    runs = [_read(folder, stamp) for folder, stamp in zip(folders, stamps, strict=True)]
    cells = {run.cells for run in runs}
    if len(cells) > 1:
        raise _other_cells()
    truth_N = runs[0].truth_C
    called_RN = np.stack([run.called_C for run in runs])
    if metric == LOSS:
        found = mean_influences(np.stack([run.loss_C for run in runs]))
    elif metric in OF_HARD_CLASSES:
        hard = _hard_classes(folders[0], runs[0])
        if metric == WITHIN_HARD:
            inside_N = np.isin(truth_N, hard)
            truth_N, called_RN = truth_N[inside_N], called_RN[:, inside_N]
        found = influences(truth_N, called_RN, OF_HARD_CLASSES[metric], named=hard)
    else:
        found = influences(truth_N, called_RN, metric)
    return found, cells.pop()


def _hard_classes(folder: Path, run: _CallsOfRun) -> list[int]:
    """Read the codes of the classes that the run's settings call hard."""
    named = read_settings(folder).get("data", {}).get("hard_classes") or []
    codes = [int(code) for code in np.flatnonzero(np.isin(run.classes, named))]
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
    cells: bytes


@lru_cache(maxsize=512)
def _read(folder: Path, stamp: int) -> _CallsOfRun:
    found = read_reported(folder)
    named = "\x1f".join([*map(str, found.classes), "\x1e", *map(str, found.ids)])
    return _CallsOfRun(
        truth_C=found.truth_C,
        called_C=found.called_C,
        loss_C=log_losses(found.truth_C, found.proba_CK),
        classes=found.classes,
        cells=hashlib.sha256(named.encode() + found.truth_C.tobytes()).digest(),
    )


def _other_cells() -> UserError:
    return UserError(
        "runs must report on the same cells to be compared over fresh cells",
        got="runs that report on different cells",
        remedy="compare runs of one split",
    )
