"""What figures need beyond scores: learning curves and predictions, read from the records."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline import files, stats
from leadline.errors import UserError
from leadline.report import figures
from leadline.report.compare.caveats import SEED
from leadline.report.compare.cells import read_reported
from leadline.report.compare.comparison import ALPHA
from leadline.report.folds import folders_of, predictions, runs_of
from leadline.report.study import Facts
from leadline.runs import record
from leadline.stats import metrics
from leadline.stats.modes import LEAST_RUNS_FOR_MODES

Floats = npt.NDArray[np.float64]
# Cells of a map, and the least probability that a logarithm is taken of.
MOST_MAPPED, LEAST = 1500, 1e-4
Counts = npt.NDArray[np.int64]


def called(facts: Facts) -> str:
    """Name an arm as figures do, model/arm."""
    return f"{facts['model']}/{facts['arm']}"


def by_arm(records: Sequence[Facts]) -> dict[str, list[Facts]]:
    """Sort runs by their arm, in the order in which they come."""
    found: dict[str, list[Facts]] = {}
    for facts in records:
        found.setdefault(called(facts), []).append(facts)
    return found


def curves(records: Sequence[Facts], runs_dir: Path) -> list[figures.Curve]:
    """Read the learning curves of runs that have epochs, and say in which mode each ended."""
    found = []
    for runs in by_arm(records).values():
        modes = _modes(runs)
        for facts in runs:
            for run in runs_of(facts):
                rows = _epochs(runs_dir / run["run_id"])
                if rows:
                    found.append(_curve(run, rows, modes[facts["run_id"]]))
    return found


def _epochs(folder: Path) -> list[dict[str, str]]:
    try:
        with open(folder / record.EPOCHS, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def _curve(facts: Facts, rows: Sequence[Mapping[str, str]], mode: str) -> figures.Curve:
    columns = {name: [_number(row.get(name)) for row in rows] for name in rows[0]}
    epochs = [int(value) for value in columns.pop("epoch", range(1, len(rows) + 1))]
    return figures.Curve(
        arm=called(facts),
        seed=int(facts["seed"]),
        scores={name: values for name, values in columns.items() if np.isfinite(values).any()},
        epochs=epochs,
        best=(facts.get("selected") or {}).get("best_epoch"),
        mode=mode,
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _modes(runs: Sequence[Facts]) -> dict[str, str]:
    """Give the mode of each run: collapsed, or one of two that the best cut finds."""
    modes = {facts["run_id"]: "" for facts in runs}
    sound = []
    for facts in runs:
        if is_collapsed(facts):
            modes[facts["run_id"]] = "collapsed"
        else:
            sound.append(facts)
    values = [float(facts["metrics"].get("test", {}).get("accuracy", "nan")) for facts in sound]
    if len(values) < LEAST_RUNS_FOR_MODES or not np.isfinite(values).all() or np.ptp(values) == 0:
        return modes
    found = stats.find_modes(values, np.random.default_rng(SEED))
    if found.p < ALPHA:
        for at, facts in enumerate(sound):
            modes[facts["run_id"]] = "low" if at in found.low else "high"
    return modes


def is_collapsed(facts: Facts) -> bool:
    """Say whether a run predicts one class for every cell."""
    return any(str(text).startswith("collapsed") for text in facts.get("warnings", ()))


def confusions(records: Sequence[Facts], runs_dir: Path) -> tuple[dict[str, Counts], list[str]]:
    """Add up the confusion matrices of each arm over the classes that any run has met."""
    names = list(dict.fromkeys(name for f in records for name in f["data"].get("classes", ())))
    at = {name: index for index, name in enumerate(names)}
    totals: dict[str, Counts] = {}
    for facts, classes, stored in _predictions(records, runs_dir):
        places = np.array([at.setdefault(name, len(at)) for name in classes])
        if len(at) > len(names):
            names += list(at)[len(names) :]
        found = metrics.confusion_matrix(
            places[stored["test_true"]], places[stored["test_pred"]], len(names)
        )
        before = totals.get(called(facts), np.zeros_like(found))
        grown = np.zeros_like(found)
        grown[: len(before), : len(before)] = before
        totals[called(facts)] = grown + found
    # A class without cells and without calls says nothing.
    used = np.zeros(len(names), bool)
    for arm, counts in totals.items():
        totals[arm] = np.pad(counts, (0, len(names) - len(counts)))
        used |= (totals[arm].sum(axis=0) + totals[arm].sum(axis=1)) > 0
    kept = np.flatnonzero(used)
    return (
        {arm: counts[np.ix_(kept, kept)] for arm, counts in totals.items()},
        [names[k] for k in kept],
    )


def _predictions(
    records: Sequence[Facts], runs_dir: Path
) -> Iterator[tuple[Facts, list[str], Mapping[str, Any]]]:
    """Read the predictions of the reported cells, run by run."""
    for facts in records:
        folders = folders_of(facts, runs_dir)
        if not all((folder / record.PREDICTIONS).exists() for folder in folders):
            continue
        if len(folders) > 1:
            said, names = predictions(folders)
            yield (
                facts,
                list(names),
                {
                    "test_true": said.truth_C,
                    "test_pred": said.predicted_C,
                    "test_proba": said.proba_CK,
                },
            )
            continue
        stored = files.read_npz(folders[0] / record.PREDICTIONS)
        if "test_true" in stored:
            yield facts, stored["classes"].tolist(), stored


def cell_map_of(
    records: Sequence[Facts], pair: tuple[str, str], names: tuple[str, str], runs_dir: Path
) -> figures.CellMap | None:
    """Place the reported cells by what both arms think of them; None if runs report on others."""
    arms: list[tuple[Floats, Floats]] = []
    cells: tuple[list[str], list[str]] | None = None
    for arm in pair:
        right, proba = [], []
        for facts in by_arm(records).get(arm, ()):
            try:
                said = read_reported(*folders_of(facts, runs_dir))
            except UserError:
                return None
            truth = [str(said.classes[code]) for code in said.truth_C]
            cells = cells or (said.ids.tolist(), truth)
            if cells != (said.ids.tolist(), truth):
                return None
            right.append(said.called_C == said.truth_C)
            proba.append(said.proba_CK.astype(np.float64))
        if not right or len({each.shape for each in proba}) > 1:
            return None
        arms.append((np.mean(right, axis=0), np.mean(proba, axis=0)))
    assert cells is not None
    log_CK = np.concatenate([np.log(np.maximum(proba, LEAST)) for _, proba in arms], axis=1)
    centred_CK = log_CK - log_CK.mean(axis=0)
    kept = np.arange(len(centred_CK))
    if len(kept) > MOST_MAPPED:
        kept = np.sort(np.random.default_rng(SEED).choice(kept, MOST_MAPPED, replace=False))
    _, _, way_KK = np.linalg.svd(centred_CK[kept], full_matrices=False)
    classes, class_C = np.unique(np.array(cells[1]), return_inverse=True)
    one, other = (share > 0.5 for share, _ in arms)
    who_C = np.select([one & other, one, other], [0, 1, 2], 3)
    return figures.CellMap(
        at_CD=centred_CK[kept] @ way_KK.T,
        class_C=class_C[kept],
        classes=tuple(map(str, classes)),
        who_C=who_C[kept],
        first=names[0],
        second=names[1],
        of=len(centred_CK),
    )


def reliabilities(records: Sequence[Facts], runs_dir: Path) -> dict[str, list[figures.Reliability]]:
    """Sort the cells of each run by how sure it was of what it called them."""
    found: dict[str, list[figures.Reliability]] = {}
    for facts, _, stored in _predictions(records, runs_dir):
        called_C = stored["test_pred"]
        proba_CK = stored["test_proba"]
        confidence_C = proba_CK[np.arange(len(called_C)), called_C].astype(np.float64)
        error = facts["metrics"]["test"].get("calibration_error")
        if error is None:
            error = metrics.expected_calibration_error(stored["test_true"], called_C, proba_CK)
        right_C = called_C == stored["test_true"]
        run = figures.reliability(confidence_C, right_C, float(error))
        found.setdefault(called(facts), []).append(run)
    return found


def classes(records: Sequence[Facts]) -> tuple[dict[str, dict[str, list[float]]], dict[str, int]]:
    """Gather the F1 of each class by arm and run, and the reported cells of each class."""
    scores: dict[str, dict[str, list[float]]] = {}
    cells: dict[str, int] = {}
    for facts in records:
        for name, said in (facts.get("per_class") or {}).get("test", {}).items():
            scores.setdefault(called(facts), {}).setdefault(name, []).append(float(said["f1"]))
            cells[name] = max(cells.get(name, 0), int(said["cells"]))
    return scores, cells


def spent(records: Sequence[Facts], metric: str) -> tuple[list[figures.Spent], str]:
    """Give hours and score of each run: of the GPU if every arm that trains had one."""
    gpu = [float((facts.get("cost") or {}).get("gpu_seconds") or 0) for facts in records]
    key, processor = ("gpu_seconds", "GPU") if any(gpu) else ("cpu_seconds", "CPU")
    found = []
    for facts in records:
        seconds = float((facts.get("cost") or {}).get(key) or 0)
        if metric in facts["metrics"]["test"]:
            value = float(facts["metrics"]["test"][metric])
            found.append(figures.Spent(arm=called(facts), hours=seconds / 3600, value=value))
    return found, processor
