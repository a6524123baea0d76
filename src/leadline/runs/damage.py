"""Whether a finished record can be believed: nothing changed, and predictions that give its scores.

`problem` says in a line what is wrong with one record, so that commands over many can leave it out,
name it and go on. `quarantine` moves such records aside; nothing is ever deleted.

Shapes: C cells, K classes.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from leadline import files, locks
from leadline.config.tasks import PREDICTIONS, TASKS
from leadline.errors import UserError
from leadline.progress import say
from leadline.runs import record, seal

QUARANTINE = "quarantine"
# Metrics are computed anew by the code that wrote them; only platforms differ, in the last digits.
TOLERANCE = 1e-6
# What can be read only with settings of the run that the record does not hold.
OF_HARD_CLASSES = ("acc_hard", "f1_hard", "f1_hard_cells")
MOST_NAMED = 5
NEEDED = ("model", "arm", "dataset", "seed", "fraction", "protocol", "data")
# Said of every run that predicted; what was imported from elsewhere may lack it.
NEEDED_BESIDE_PREDICTIONS = (
    *("cost", "fit", "per_class", "provenance", "selected", "split", "warnings"),
)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that cannot be used, and why."""

    folder: Path
    reason: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.folder.name}: {self.reason}"


def problem(folder: Path) -> str:
    """Say why the record of a finished run cannot be used, or "" if it can.

    A process looks at a record again only when a file of it has another size or date.
    """
    try:
        files = sorted((item.name, item.lstat()) for item in folder.iterdir())
    except OSError as error:
        return str(error)
    return _problem(folder, tuple((name, at.st_size, at.st_mtime_ns) for name, at in files))


@lru_cache(maxsize=50_000)
def _problem(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    if reason := seal.broken_seal(folder):
        return reason
    try:
        if changed := seal.verify(folder):
            return f"{', '.join(changed)} differ from what DONE says"
        facts = record.read_facts(folder)
        predicted = (folder / record.PREDICTIONS).exists()
        needed = (*NEEDED, *(NEEDED_BESIDE_PREDICTIONS if predicted else ()))
        lacking = [key for key in needed if key not in facts]
        if lacking:
            return f"{record.FACTS} lacks {', '.join(lacking)}"
        plain = yaml.load((folder / record.CONFIG).read_bytes(), YAML)
        if not isinstance(plain, dict):
            return f"{record.CONFIG} holds no settings"
        return wrong_curve(folder) or wrong_predictions(folder, facts)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__


YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def wrong_curve(folder: Path) -> str:
    """Say what is wrong with the table of epochs, where there is one."""
    path = folder / record.EPOCHS
    if not path.exists():
        return ""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or "epoch" not in rows[0]:
        return f"{record.EPOCHS} has no column epoch"
    for row in rows:
        for name, text in row.items():
            if name is None or text is None or (text and not is_number(text)):
                return f"{record.EPOCHS} holds {text!r:.40} in column {name}"
    return ""


def is_number(text: str) -> bool:
    """Say whether a field of a table is a number, or true or false."""
    try:
        float(text)
    except ValueError:
        return text in ("True", "False")
    return True


def wrong_predictions(folder: Path, facts: Mapping[str, Any]) -> str:
    """Say where predictions are none, or do not give the metrics that the record holds."""
    if not (folder / record.PREDICTIONS).exists():
        task = TASKS.get(facts.get("task", "classify"))
        # A record imported from elsewhere says that it has none by having none sealed.
        needed = task is not None and task.product == PREDICTIONS and "imported" not in facts
        return f"{record.PREDICTIONS} is missing" if needed and "per_class" in facts else ""
    try:
        parts, classes = record.read_predictions(folder)
    except files.NPZ_ERRORS as error:
        return f"{record.PREDICTIONS} cannot be read ({' '.join(str(error).split())[:120]})"
    from leadline.stats import metrics

    labels = str(facts["protocol"].get("metric_labels", "truth"))
    for part, said in parts.items():
        shape = (len(said.ids), len(classes))
        if reason := wrong_arrays(said, shape):
            return f"{record.PREDICTIONS}: {part} {reason}"
        told = facts["metrics"].get(part)
        if told is None:
            return f"metrics in {record.FACTS} lack {part}, which has predictions"
        found = metrics.score(said.truth_C, said.predicted_C, said.proba_CK, labels=labels)
        for name, value in found.items():
            if name not in OF_HARD_CLASSES and name in told and not close(told[name], value):
                shown = told[name] if told[name] is None else f"{told[name]:.6g}"
                return f"metrics.{part}.{name} is {shown}, and {value:.6g} by its predictions"
        if "accuracy" not in told:
            return f"metrics.{part} in {record.FACTS} lack accuracy, which the predictions give"
        if reason := wrong_classes(facts, part, said, classes):
            return reason
    sealed = seal.inside(facts, "split.cells.test")
    if "test" in parts and sealed is not seal.MISSING and sealed != len(parts["test"].ids):
        return f"split.cells.test is {sealed:,}, and {len(parts['test'].ids):,} are predicted"
    return ""


def wrong_arrays(said: record.Predictions, shape: tuple[int, int]) -> str:
    """Say which of the arrays of one part cannot be."""
    n_cells, n_classes = shape
    if said.ids.ndim != 1 or said.ids.dtype.kind != "U" or not n_cells:
        return "has no names of cells"
    for name, codes_C in (("true", said.truth_C), ("pred", said.predicted_C)):
        if codes_C.shape != (n_cells,) or codes_C.dtype.kind not in "iu":
            return f"has {name} of shape {codes_C.shape} for {n_cells:,} cells"
        if int(codes_C.min()) < 0 or int(codes_C.max()) >= n_classes:
            return f"has {name} outside its {n_classes} classes"
    proba_CK = said.proba_CK
    if proba_CK.shape != shape or proba_CK.dtype.kind != "f":
        return f"has probabilities of shape {proba_CK.shape}, not {shape}"
    # float16 rounds, and a model may give rows that are not quite one.
    if not (np.isfinite(proba_CK).all() and proba_CK.min() >= 0 and proba_CK.max() <= 1.001):
        return "has probabilities that are none"
    return ""


def wrong_classes(
    facts: Mapping[str, Any], part: str, said: record.Predictions, classes: tuple[str, ...]
) -> str:
    """Say which class is told other scores than its predictions give."""
    told = seal.inside(facts, f"per_class.{part}")
    if told is seal.MISSING:
        return ""
    from leadline.stats import metrics

    found = metrics.per_class(said.truth_C, said.predicted_C, classes)
    if not isinstance(told, dict) or set(told) != set(found):
        return f"per_class.{part} in {record.FACTS} has other classes than the predictions"
    for name, values in found.items():
        own = told[name]
        for key, value in values.items():
            if not isinstance(own, dict) or not close(own.get(key), value):
                return f"per_class.{part} of {name!r} is not what its predictions give"
    return ""


def close(told: Any, value: float) -> bool:
    """Say whether a stored number is the one that was computed."""
    if isinstance(told, bool) or not isinstance(told, (int, float)):
        return False
    return math.isclose(told, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def require_usable(folder: Path) -> None:
    """Refuse a finished run whose record cannot be believed."""
    if reason := problem(folder):
        raise UserError(
            "a finished record must not change",
            got=f"{folder.name}, where {reason}",
            remedy=f"leadline doctor {folder.parent} --quarantine moves it aside; "
            "then run it again",
        )


def parted(folders: Iterable[Path]) -> tuple[list[Path], list[Damaged]]:
    """Tell the usable of these finished runs from the damaged."""
    usable, damaged = [], []
    for folder in folders:
        if reason := problem(folder):
            damaged.append(Damaged(folder, reason))
        else:
            usable.append(folder)
    return usable, damaged


def told(damaged: Iterable[Damaged], total: int) -> str:
    """Say in one line how many records are left out, and which; "" if none is."""
    found = list(damaged)
    if not found:
        return ""
    shown = "; ".join(map(str, found[:MOST_NAMED]))
    more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    runs_dir = found[0].folder.parent
    return (
        f"warning: {len(found)} of {total} finished records "
        f"{'is' if len(found) == 1 else 'are'} damaged and left out: {shown}{more}"
        f" (leadline doctor {runs_dir} lists them, --quarantine moves them aside)"
    )


def warn(damaged: Iterable[Damaged], total: int) -> None:
    """Tell the person who waits which records are left out."""
    if line := told(damaged, total):
        say(line)


def quarantine(damaged: Iterable[Damaged]) -> list[Path]:
    """Move damaged records into the folder `quarantine` beside them; give where they went."""
    moved = []
    for each in damaged:
        place = each.folder.parent / QUARANTINE
        place.mkdir(exist_ok=True)
        target, number = place / each.folder.name, 1
        while os.path.lexists(target):
            number += 1
            target = place / f"{each.folder.name}-{number}"
        os.rename(each.folder, target)
        moved.append(target)
    return moved


def facts_or_reason(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """Give what a finished record says, or why it cannot be used."""
    reason = problem(folder)
    if reason:
        return None, reason
    content = json.loads((folder / record.FACTS).read_bytes())
    return content, ""


def is_held(folder: Path) -> bool:
    """Say whether a worker writes to a record now."""
    owner = locks.read(folder / locks.NAME)
    return owner is not None and not locks.is_stale(folder / locks.NAME, owner)
