"""Two arms whose runs each report on cells of their own: compared split by split.

Such runs are not crossed with cells. Nadeau and Bengio's corrected resampled t takes account of the
training cells that splits share; it is an approximation.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns
from leadline.report.compare.cells import read_reported
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.fresh_cells import equivalence_of, interval_of
from leadline.report.folds import folders_of
from leadline.report.study import Facts
from leadline.stats import Flag, metrics
from leadline.stats.crossed import CrossedComparison, compare_resplits

NAME = "resplit_t"
CLASS_AVERAGES = ("macro_f1", "balanced_accuracy")


def are_resplits(a: ArmRuns, b: ArmRuns, runs_dir: Path) -> bool:
    """Say whether the runs of an arm report on different cells."""
    try:
        return any(len({_cells_of(facts, runs_dir) for facts in side.records}) > 1
                   for side in (a, b))  # fmt: skip
    except UserError:
        return False


def over_splits(same: ArmComparison, runs_dir: Path, margin: float) -> ArmComparison:
    """Compare arms whose runs report on different cells: over splits, never crossed with cells."""
    bare = ArmComparison(a=same.a, b=same.b)
    try:
        found, flag = compare_splits(same.a, same.b, runs_dir, margin)
    except UserError as error:
        return replace(bare, why=error.rule)
    # What further splits would bring is not known: those that there are overlap.
    return replace(
        bare,
        test=NAME,
        interval=interval_of(found),
        p=found.p,
        tests={NAME: PValue.of(found.p)},
        equivalence=equivalence_of(found),
        flags=(*same.flags, flag),
        speaks_for=f"{found.words}, an approximation",
    )


def compare_splits(
    a: ArmRuns, b: ArmRuns, runs_dir: Path, margin: float
) -> tuple[CrossedComparison, Flag]:
    """Compare two arms by the splits that both have; the flag says what that is worth.

    Raises
    ------
    UserError
        When fewer than two seeds report on the same cells in both arms.
    """
    sides = [dict(zip(side.seeds, side.records, strict=True)) for side in (a, b)]
    scores = [dict(zip(side.seeds, side.values, strict=True)) for side in (a, b)]
    shared = [
        seed
        for seed in sides[0]
        if seed in sides[1] and len({_cells_of(side[seed], runs_dir) for side in sides}) == 1
    ]
    if len(shared) < 2:
        raise UserError(
            "runs that report on different cells are compared split by split, on two at least",
            got=f"{len(shared)} seeds of {a.arm} and {b.arm} that report on the same cells",
            remedy="give both arms the same protocol.split_seed at each seed",
        )
    records = [side[seed] for side in sides for seed in shared]
    sizes = [facts["split"]["cells"] for facts in records]
    found = compare_resplits(
        [scores[0][seed] for seed in shared],
        [scores[1][seed] for seed in shared],
        test_cells=float(np.mean([cells["test"] for cells in sizes])),
        training_cells=float(np.mean([cells["train"] + cells.get("val", 0) for cells in sizes])),
        step=max(_step(facts, a.metric) for facts in records),
        margin=margin,
        higher_is_better=not metrics.lower_is_better(a.metric),
    )
    left = a.values.size + b.values.size - 2 * len(shared)
    without = f"; {left} runs without a partner are left out" if left else ""
    sentence = (
        "each run reports on cells of its own: the corrected resampled t (Nadeau and Bengio), "
        f"paired over {len(shared)} splits, an approximation{without}"
    )
    return found, Flag("resplits", "note", sentence, {"splits": float(len(shared))})


def _cells_of(facts: Facts, runs_dir: Path) -> bytes:
    return _ids(folders_of(facts, runs_dir))


@lru_cache(maxsize=1024)
def _ids(folders: tuple[Path, ...]) -> bytes:
    return "\n".join(map(str, read_reported(*folders).ids)).encode()


def _step(facts: Facts, metric: str) -> float:
    """Give the most that one cell can move the metric."""
    if metric not in CLASS_AVERAGES:
        return 1 / float(facts["split"]["cells"]["test"])
    sizes = [said["cells"] for said in facts["per_class"]["test"].values() if said["cells"]]
    return 1 / (len(sizes) * min(sizes))
