"""What the paper's readers miss: each finding is looked for in the numbers, none is typed in.

A finding gets the evidence and the arms that its claim is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from leadline.papers.boiarsky import counts
from leadline.papers.boiarsky.counts import cells_of_bins
from leadline.papers.claims.result import Part
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.compare.evidence import Evidence
from leadline.stats import Flag

LEAST_GAIN = 0.002


def opposite_directions(parts: tuple[Part, ...], alpha: float) -> Flag | None:
    """Flag metrics of one comparison that are significant in opposite directions."""
    by_place: dict[str, list[Part]] = {}
    for part in parts:
        if part.estimate is not None and part.p.get("student", 1.0) < alpha:
            where, _, arms = part.label.partition(", ")
            by_place.setdefault(f"{where.rpartition(' ')[0]}, {arms}", []).append(part)
    found = []
    numbers: dict[str, float] = {}
    for place, group in by_place.items():
        signs = {(part.estimate or 0.0) > 0 for part in group}
        if len(signs) == 2:
            said = [
                f"{part.label} {part.estimate:+.4f} (p = {part.p['student']:.2g})" for part in group
            ]
            found.append(f"{place}: " + " against ".join(said))
            numbers |= {part.label: part.estimate or 0.0 for part in group}
    if not found:
        return None
    sentence = f"metrics contradict one another, each significantly: {'; '.join(found)}"
    return Flag("opposite_directions", "severe", sentence, numbers)


def heuristic(evidence: Evidence, arms: Sequence[str]) -> list[Flag]:
    """Compare masked accuracy with that of always naming the cell's most common bin."""
    found = []
    for arm in (name.partition("/")[2] for name in arms):
        model, rule = (
            _one(evidence, Condition("panglao", "scbert", arm, 1.0, metric, "Table 3"))
            for metric in ("masking_accuracy", "heuristic_accuracy_most_common_bin")
        )
        if model is None or rule is None:
            continue
        score, known = float(model.values.mean()), float(rule.values.mean())
        gain, numbers = score - known, {"model": score, "heuristic": known, "gain": score - known}
        said = f"{arm}: {score:.2%} of the masked bins, most common bin {known:.2%}"
        if gain < LEAST_GAIN:
            sentence = f"{said}: the model adds nothing ({100 * gain:+.2f} points)"
            found.append(Flag("no_better_than_heuristic", "severe", sentence, numbers))
        else:
            sentence = f"{said}: the model adds {100 * gain:.1f} points"
            found.append(Flag("gain_over_heuristic", "note", sentence, numbers))
    return found


def implied_cells(evidence: Evidence, arms: Sequence[str]) -> list[Flag]:
    """Count the pre-training cells that the histogram of expression implies."""
    cells = cells_of_bins(evidence, "panglao")
    if cells is None:
        return []
    said = evidence.printed_text("panglao", "pre-training cells")
    sentence = f"the histogram of expression has {cells:,.0f} cells"
    sentence += f"; the text says {said}" if said else ""
    return [Flag("implied_cells", "warning", sentence, {"cells": cells})]


def chosen_settings(evidence: Evidence, arms: Sequence[str]) -> list[Flag]:
    """Say how much the choice of C varies between seeds where a log shows it."""
    found = []
    for dataset in ("ms", "pancreas", "myeloid"):
        for arm in evidence.arms(dataset, "logreg"):
            side = _one(evidence, Condition(dataset, "logreg", arm, 0.1, "chosen_C", "Figure 3"))
            if side is not None and side.values.size > 1:
                values = ", ".join(f"{value:g}" for value in side.values)
                sentence = f"at 10 % of {dataset}, cross-validation chose C = {values}"
                spread = {"least": float(side.values.min()), "largest": float(side.values.max())}
                found.append(Flag("choice_varies", "note", sentence, spread))
    return found


def frozen(evidence: Evidence, arms: Sequence[str]) -> list[Flag]:
    """Count what would be trained if all weights before the decoders were frozen, as is said."""
    said, done = (
        counts.count_parameters("scgpt", 21, trained)
        for trained in ("decoders", "published_freeze")
    )
    sentence = (
        f"freezing all weights before the decoders would leave {said:,} parameters; the script "
        f"freezes the embeddings only and trains {done:,}"
    )
    numbers = {"decoders": float(said), "trained": float(done)}
    return [Flag("frozen_less_than_said", "warning", sentence, numbers)]


def _one(evidence: Evidence, cell: Condition) -> ArmRuns | None:
    side = evidence.side(cell)
    return side if side.values.size else None


FINDINGS: Mapping[str, Callable[[Evidence, Sequence[str]], list[Flag]]] = {
    "heuristic": heuristic,
    "implied_cells": implied_cells,
    "chosen_settings": chosen_settings,
    "frozen": frozen,
}
