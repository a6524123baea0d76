"""Two arms compared over fresh runs and fresh cells, from the predictions that their runs left.

docs/statistics.md explains the interval; `stats.crossed` computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from leadline.config import registry
from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.cells import ReportedCalls, read_reported
from leadline.runs import record
from leadline.stats import Equivalence, Flag, Interval, metrics
from leadline.stats.crossed import (
    CrossedComparison,
    SpeaksFor,
    Warn,
    compare_arms,
    speaks_for,
    too_few_donors,
)
from leadline.stats.influence import METRICS, Influences, influences

NAME = "crossed"
METHOD = "over fresh runs and fresh cells"
# The folder of a record, and when its predictions were written.
StampedRun: TypeAlias = tuple[Path, int]


def compare_sides(a: ArmRuns, b: ArmRuns, runs_dir: Path, margin: float) -> CrossedComparison:
    """Compare two arms whose runs report on the same cells.

    Raises
    ------
    UserError
        When the metric has no such form, predictions are missing, or runs report on other cells.
    """
    if a.metric not in METRICS:
        raise UserError(
            "a comparison over fresh cells needs a metric of labels",
            got=a.metric,
            remedy=f"choose one of {', '.join(METRICS)}",
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
        luck_a=not without_luck(a),
        luck_b=not without_luck(b),
        speaks=speaks,
    )


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
    a: ArmRuns, b: ArmRuns, found: CrossedComparison, configs: Mapping[str, Mapping[str, Any]]
) -> tuple[Flag, ...]:
    """Note runs whose data set names a batch column, and whose records do not hold the batches."""
    runs = [str(facts["run_id"]) for facts in (*a.records, *b.records)]
    named = [run for run in runs if configs.get(run, {}).get("data.batch") is not None]
    if found.speaks is not SpeaksFor.CELLS or not named:
        return ()
    sentence = (
        "donors unknown: records made before they held the batch of each reported cell say nothing "
        "of fresh donors; delete them and run them again"
    )
    return (Flag("donors_unknown", "note", sentence, {"runs": float(len(named))}),)


def without_luck(side: ArmRuns) -> bool:
    """Say whether a model gives the same predictions whenever it is trained on the same cells."""
    return registry.named(side.model).deterministic


def _is_paired(a: ArmRuns, b: ArmRuns) -> bool:
    """Say whether each seed drew one labelled subset for both arms, so that their runs are pairs.

    Seeds that merely share a number are no pair.
    """
    subsets_differ = a.fraction < 1 and not (a.fixed or b.fixed)
    return subsets_differ and a.values.size > 1 and sorted(a.seeds) == sorted(b.seeds)


def _runs_of(side: ArmRuns, runs_dir: Path, paired: bool) -> tuple[StampedRun, ...]:
    """Choose the runs that count: of a model without luck on the same cells, one."""
    records = sorted(side.records, key=lambda facts: int(facts["seed"])) if paired else side.records
    splits = {str(facts.get("split", {}).get("fingerprint")) for facts in records}
    if without_luck(side) and len(splits) == 1:
        records = records[:1]
    folders = (runs_dir / str(facts["run_id"]) for facts in records)
    return tuple((folder, _stamp(folder)) for folder in folders)


def _stamp(folder: Path) -> int:
    path = folder / record.PREDICTIONS
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=256)
def _donors_of(runs: tuple[StampedRun, ...]) -> tuple[int, bool]:
    """Count the reported donors, 0 where a record lacks them, and say if any was learnt from."""
    batches = [_read(*run)[0].batches for run in runs]
    known = [each for each in batches if each is not None]
    if len(known) < len(batches):
        return 0, False
    return len(known[0].names), any(bool(each.trained_on_B.any()) for each in known)


@lru_cache(maxsize=256)
def _influences(
    runs: tuple[StampedRun, ...], metric: str, by_donor: bool
) -> tuple[Influences, bytes]:
    """Compute the influences of an arm, and tell which cells they are of."""
    calls, cells = zip(*(_read(*run) for run in runs), strict=True)
    if len(set(cells)) > 1:
        raise _other_cells()
    first = calls[0]
    donors_N = first.batches.code_C if by_donor and first.batches is not None else None
    called_RN = np.stack([each.called_C for each in calls])
    found = influences(first.truth_C, called_RN, metric, donors_N=donors_N)
    # Warnings name classes.
    sizes = {str(first.classes[code]): count for code, count in found.class_sizes.items()}
    return replace(found, class_sizes=sizes), cells[0]


@lru_cache(maxsize=256)
def _read(folder: Path, stamp: int) -> tuple[ReportedCalls, bytes]:
    """Read what a run called its reported cells, and what tells these cells from others."""
    reported = read_reported(folder)
    named = "\x1f".join([*map(str, reported.classes), "\x1e", *map(str, reported.ids)])
    # Ids are long, and what is kept for 256 runs need not hold them twice.
    kept = replace(reported, ids=np.empty(0, np.str_))
    return kept, named.encode() + reported.truth_C.tobytes()


def _other_cells() -> UserError:
    return UserError(
        "runs must report on the same cells to be compared over fresh cells",
        got="runs that report on different cells",
        remedy="compare runs of one split",
    )
