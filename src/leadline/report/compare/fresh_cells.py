"""Two arms compared over fresh runs and fresh cells, from the predictions that their runs left.

docs/statistics.md explains the interval; `stats.crossed` computes it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline.config import registry
from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.cells import read_reported
from leadline.report.folds import folders_of, folds_of
from leadline.runs import record
from leadline.stats import Equivalence, Flag, Interval
from leadline.stats.crossed import CrossedComparison, compare_arms
from leadline.stats.influence import METRICS, Influences, influences

NAME = "crossed"
METHOD = "over fresh runs and fresh cells"
Labels = npt.NDArray[Any]


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
    arms = [_influences(side, runs_dir, paired) for side in (a, b)]
    if arms[0][1] != arms[1][1]:
        raise _other_cells()
    return compare_arms(
        arms[0][0],
        arms[1][0],
        paired=paired,
        margin=margin,
        luck_a=not without_luck(a),
        luck_b=not without_luck(b),
        folds=folds_of([*a.records, *b.records]),
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


def flags_of_cells(found: CrossedComparison) -> tuple[Flag, ...]:
    """Give what must be known beside a verdict."""
    return tuple(Flag(warn.name, "warning", warn.sentence, {}) for warn in found.warnings)


def without_luck(side: ArmRuns) -> bool:
    """Say whether a model gives the same predictions whenever it is trained on the same cells."""
    return registry.named(side.model).deterministic


def _is_paired(a: ArmRuns, b: ArmRuns) -> bool:
    """Say whether each seed drew one labelled subset for both arms, so that their runs are pairs.

    Seeds that merely share a number are no pair.
    """
    subsets_differ = a.fraction < 1 and not (a.fixed or b.fixed)
    return subsets_differ and a.values.size > 1 and sorted(a.seeds) == sorted(b.seeds)


def _influences(side: ArmRuns, runs_dir: Path, paired: bool) -> tuple[Influences, bytes]:
    records = sorted(side.records, key=lambda facts: int(facts["seed"])) if paired else side.records
    splits = {str(facts.get("split", {}).get("fingerprint")) for facts in records}
    if without_luck(side) and len(splits) == 1:
        records = records[:1]
    replicates = tuple(folders_of(facts, runs_dir) for facts in records)
    stamps = tuple(_stamp(folders) for folders in replicates)
    return _influences_of(replicates, stamps, side.metric)


def _stamp(folders: tuple[Path, ...]) -> tuple[int, ...]:
    paths = [folder / record.PREDICTIONS for folder in folders]
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


@lru_cache(maxsize=256)
def _influences_of(
    replicates: tuple[tuple[Path, ...], ...], stamps: tuple[tuple[int, ...], ...], metric: str
) -> tuple[Influences, bytes]:
    """Compute the influences of an arm, and tell which cells they are of."""
    runs = [_read(folders, stamp) for folders, stamp in zip(replicates, stamps, strict=True)]
    cells = {of_cells for _, _, of_cells in runs}
    if len(cells) > 1:
        raise _other_cells()
    truth_N = runs[0][0]
    called_RN = np.stack([called_N for _, called_N, _ in runs])
    return influences(truth_N, called_RN, metric), cells.pop()


@lru_cache(maxsize=256)
def _read(folders: tuple[Path, ...], stamp: tuple[int, ...]) -> tuple[Labels, Labels, bytes]:
    """Read truth and calls as codes, and what tells these cells from others."""
    reported = read_reported(*folders)
    named = "\x1f".join([*map(str, reported.classes), "\x1e", *map(str, reported.ids)])
    return reported.truth_C, reported.called_C, named.encode() + reported.truth_C.tobytes()


def _other_cells() -> UserError:
    return UserError(
        "runs must report on the same cells to be compared over fresh cells",
        got="runs that report on different cells",
        remedy="compare runs of one split",
    )
