"""What a reader must know of an arm beyond what `stats` can see in its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from leadline import stats
from leadline.report.compare.arms import ArmRuns, Floats
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.printed import stand_in
from leadline.report.compare.setting import ClaimSettings
from leadline.report.frame import COLLAPSED, SELECTED
from leadline.stats import Flag

# One stream for each comparison, so that no result depends on what was computed before it.
SEED = 20231019
# Markers of a figure are read to this half-width; a constant prediction must fit to within it.
MARKER = 5e-4
# Words of the sources that tell a run of the few-shot script among those of Table 2.
REUSED = "sampleeff"


def name_of(side: ArmRuns) -> str:
    """Name an arm in sentences."""
    return side.name


def reused(side: ArmRuns) -> list[bool]:
    """Mark the runs that another experiment of the paper lent to this arm."""
    return [REUSED in note for note in side.notes]


def selected_on_reported(side: ArmRuns, setting: ClaimSettings) -> Flag | None:
    """Flag an arm whose epoch was chosen on the cells that it is reported on."""
    reported = "validation"
    chosen = setting.selected_on.get(side.model) if side.published else None
    if any(SELECTED in note for note in side.notes):
        chosen = reported
    return stats.selected_on_reported(chosen, reported, name_of(side))


def noted_collapse(side: ArmRuns) -> Floats | None:
    """Mark the runs that say of themselves that they predict one class; None where none does."""
    noted = np.array([float(COLLAPSED in note) for note in side.notes])
    return noted if noted.any() else None


def collapsed(evidence: Evidence, side: ArmRuns, setting: ClaimSettings) -> Floats | None:
    """Mark the runs that predict one class with 1; None where none does or nothing can be said."""
    if not side.published:
        return noted_collapse(side)
    classes = setting.classes.get(side.cell.dataset)
    if classes is None or side.cell.metric not in ("accuracy", "macro_f1"):
        return None
    metrics = (replace(side.cell, metric=metric) for metric in ("accuracy", "macro_f1"))
    accuracy, f1 = (evidence.side(cell) for cell in metrics)
    if not all(known.complete and known.values.size > 1 for known in (accuracy, f1)):
        return None
    width = MARKER if float(accuracy.widths.max()) > 0 else 1e-9
    level = stats.constant_level(accuracy.values, f1.values, classes, width)
    if level is None:
        return None
    if side.cell.metric == "macro_f1":
        level = stats.constant_macro_f1(level, classes)
    marks: Floats = stats.collapsed_by_value(side.values, [level], side.widths).astype(float)
    return marks


def marker_flags(side: ArmRuns, marks: Floats | None) -> list[Flag]:
    """Flag what markers of a figure show of an arm whose tests come from printed numbers."""
    name, found = name_of(side), []
    if side.complete and side.values.size > 1:
        found.append(stats.two_modes(side.values, np.random.default_rng(SEED), name=name))
        if marks is not None:
            found.append(stats.collapsed_runs(side.values, marks, name))
    summary = side.summary() if side.fixed else None
    if summary is not None:
        # Only mean and spread are known, and only they are looked at.
        runs = stand_in(summary)
        found.append(stats.dependent_replicates(runs, deterministic=True, name=name))
    return [flag for flag in found if flag is not None]


def printed_flags(found: ArmComparison, row: Mapping[str, object]) -> list[Flag]:
    """Flag a printed test that was withheld, or that does not follow from the printed runs."""
    printed, ours = found.printed_p, found.tests.get("student")
    if printed is None:
        return []
    flags = []
    if row["printed"] == "(not shown)":
        sentence = f"the authors computed this test (p = {printed:.3g}) and did not publish it"
        flags.append(Flag("withheld_test", "severe", sentence, {"p": printed}))
    if found.basis != "runs" or ours is None or ours.p is None:
        return flags
    # The range holds the rounding of the scores; a point is known up to floating point.
    if not ours.least - 1e-12 <= printed <= ours.most + 1e-12:
        sentence = (
            f"the printed p = {printed:.4g} does not follow from the printed runs, which give "
            f"{ours.p:.4g}"
        )
        numbers = {"printed": printed, "recomputed": ours.p, "difference": ours.p - printed}
        flags.append(Flag("printed_p_not_reproduced", "warning", sentence, numbers))
    return flags


def rounding_flag(side: ArmRuns) -> Flag | None:
    """Flag a printed percentage that is not the rounding of the number it stands for."""
    text, mean = side.printed_text, side.recomputed
    if mean is None or not text.endswith("%") or text.startswith("<"):
        return None
    digits = text.removesuffix("%")
    decimals = len(digits.partition(".")[2])
    rounded = f"{100 * mean:.{decimals}f}"
    if rounded == digits:
        return None
    sentence = f"printed as {text}, but {100 * mean:.4g} % rounds to {rounded}%"
    numbers = {"printed": float(digits), "recomputed": 100 * mean}
    return Flag("printed_digits_differ", "note", sentence, numbers)


def arm_flags(side: ArmRuns) -> list[Flag]:
    """Flag what is to be said of one arm without another."""
    found = [rounding_flag(side)]
    if side.has_runs and side.n > 1:
        found += [
            stats.few_runs(side.values, name_of(side)),
            stats.two_modes(side.values, np.random.default_rng(SEED), name=name_of(side)),
        ]
    return [flag for flag in found if flag is not None]
