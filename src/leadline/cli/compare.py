"""`leadline compare RUN RUN`: what was set differently, and which cells were called differently.

Shapes: C cells that both runs reported on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.cli.show import UNTOLD, flat
from leadline.cli.terminal import aligned
from leadline.errors import UserError
from leadline.runs import record
from leadline.runs.records import read_settings, require_done
from leadline.stats import metrics, tests
from leadline.stats.paired_predictions import cell_bootstrap, mcnemar

EXCHANGES_SHOWN = 8
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What two runs said of the same cells, and how many cells only one of them reported on."""

    truth_C: NDArray[np.int64]
    first_C: NDArray[np.int64]
    second_C: NDArray[np.int64]
    classes: tuple[str, ...]
    alone: tuple[int, int]


def compared(first: Path, second: Path) -> list[str]:
    """Give what tells two finished runs apart, in settings and in cells."""
    for folder in (first, second):
        require_done(folder)
    facts = [record.read_facts(folder) for folder in (first, second)]
    lines = [f"A  {first.name}", f"B  {second.name}", "", *settings(first, second)]
    lines += ["", *inputs(*facts), "", *scores(*(one["metrics"]["test"] for one in facts))]
    unnamed = [folder for folder in (first, second) if not (folder / record.PREDICTIONS).exists()]
    if unnamed:
        told = "neither run named" if len(unnamed) == 2 else f"{unnamed[0].name} did not name"
        return [*lines, "", f"cell by cell there is nothing to compare: {told} cells"]
    return [*lines, "", *cells(paired(first, second))]


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
    """Test whether one run is right more often, and say how far apart they are."""
    if np.array_equal(both.first_C, both.second_C):
        return ["  every cell is called the same"]
    lines = []
    triple = (both.truth_C, both.first_C, both.second_C)
    if ((both.first_C == both.truth_C) != (both.second_C == both.truth_C)).any():
        test = mcnemar(*triple)
        lines.append(f"  {tests.title('mcnemar')}: p = {test.p:.3g} ({test.method})")
    for name, metric in (("accuracy", accuracy), ("macro_f1", macro_f1)):
        found = cell_bootstrap(*triple, metric, np.random.default_rng(SEED))
        low, high = found.interval.low, found.interval.high
        ends = f"95 % interval {low:+.4f} to {high:+.4f}"
        lines.append(f"  {metrics.title(name)}, A - B: {found.estimate:+.4f} ({ends})")
    lines.append("  these two trained models on fresh cells; other seeds may differ more")
    return lines


def accuracy(truth_C: NDArray[np.int64], said_C: NDArray[np.int64]) -> float:
    """Give the share of cells called right."""
    return float((truth_C == said_C).mean())


def macro_f1(truth_C: NDArray[np.int64], said_C: NDArray[np.int64]) -> float:
    """Give F1 averaged over the classes that occur in the truth."""
    n_classes = int(max(truth_C.max(), said_C.max())) + 1
    confusion_KK = metrics.confusion_matrix(truth_C, said_C, n_classes)
    averaged = metrics.averaged_classes(confusion_KK, "truth")
    return float(metrics.precision_recall_f1(confusion_KK)[2, averaged].mean())


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
    from leadline.runs.records import find_run

    folders = (find_run(text, chosen.runs) for text in (chosen.first, chosen.second))
    print("\n".join(compared(*folders)))
    return 0
