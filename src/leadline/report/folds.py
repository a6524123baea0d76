"""Cross-validation in a report: the runs of all folds of one seed are one replicate.

A replicate has the facts of a run, with the scores of all cells put together, each reported once.
Its runs stand in it under `fold_runs`. Where a fold is missing the others are left out, and named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leadline.runs import record
from leadline.runs.record import Predictions, ReportedBatches
from leadline.stats import metrics

Facts = dict[str, Any]
RUNS, HARD = "fold_runs", "data.hard_classes"
# Settings in which the runs of one replicate differ: each fold has pretraining runs of its own.
OF_ONE_FOLD = ("protocol.fold", "model.pretrained", "model.gene2vec")
# Of what several fits took: the largest counts, not the sum.
PEAKS = ("peak_memory_mib", "peak_gpu_memory_mib")


@dataclass(frozen=True, slots=True, kw_only=True)
class IncompleteReplicate:
    """A seed of an arm that lacks folds; its other runs are left out of every mean and test."""

    arm: str
    fraction: float
    seed: int
    folds: int
    missing: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Say what is missing and what follows."""
        lacking = f"fold {self.missing[0]}" if len(self.missing) == 1 else (
            f"folds {', '.join(map(str, self.missing))}"
        )  # fmt: skip
        count = len(self.left_out)
        others = f"its {count} finished runs are" if count > 1 else "its finished run is"
        return (
            f"seed {self.seed} with {self.fraction:.0%} of the labels lacks {lacking} of "
            f"{self.folds}: {others} left out"
        )


def runs_of(facts: Facts) -> tuple[Facts, ...]:
    """Give the runs of a replicate, named as it is; of any other run that run alone."""
    if RUNS not in facts:
        return (facts,)
    named = {key: facts[key] for key in ("arm", "dataset")}
    return tuple({**run, **named} for run in facts[RUNS])


def folders_of(facts: Facts, runs_dir: Path) -> tuple[Path, ...]:
    """Give the records that hold the predictions of a run, or of the runs of its folds."""
    return tuple(runs_dir / str(run["run_id"]) for run in facts.get(RUNS, (facts,)))


def folds_of(records: Iterable[Facts]) -> int | None:
    """Give in how many folds cells were reported; None without folds, or where these differ."""
    found = {_folds(facts) for facts in records}
    return found.pop() if len(found) == 1 else None


def told_of_folds(records: Iterable[Facts]) -> str:
    """Say that cells are reported once, where they are."""
    folds = folds_of(records)
    return f"Each cell is reported once, in {folds} folds." if folds else ""


def put_together(
    runs: Sequence[Facts], settings: Mapping[str, Mapping[str, Any]], runs_dir: Path
) -> tuple[list[Facts], list[IncompleteReplicate]]:
    """Make the runs of each seed's folds one replicate, in the place of the first of them.

    `settings` holds those of each run, by its id, that tell arms apart.
    """
    found: dict[str, list[Facts]] = {}
    for facts in runs:
        found.setdefault(_replicate_key(facts, settings), []).append(facts)
    whole, incomplete = [], []
    for several in found.values():
        folds = _folds(several[0])
        if folds is None:
            whole += several
            continue
        by_fold = {int(facts["protocol"]["fold"]): facts for facts in several}
        missing = tuple(fold for fold in range(1, folds + 1) if fold not in by_fold)
        if missing:
            incomplete.append(_incomplete(several, folds, missing))
        else:
            ordered = [by_fold[fold] for fold in range(1, folds + 1)]
            whole.append(_replicate(ordered, settings, runs_dir))
    return whole, incomplete


def predictions(folders: Sequence[Path]) -> tuple[Predictions, tuple[str, ...]]:
    """Read the reported cells of the records of one replicate, put together."""
    read = [record.read_predictions(folder) for folder in folders]
    classes = read[0][1]
    parts = [parts["test"] for parts, _ in read]
    if len(parts) == 1:
        return parts[0], classes
    # Folds of one data set have its classes, in its order.
    assert all(names == classes for _, names in read)
    ids, truth_C, predicted_C, proba_CK = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("ids", "truth_C", "predicted_C", "proba_CK")
    )
    whole = Predictions(
        ids=ids,
        truth_C=truth_C,
        predicted_C=predicted_C,
        proba_CK=proba_CK,
        batches=_batches([part.batches for part in parts]),
    )
    return whole, classes


def _batches(parts: Sequence[ReportedBatches | None]) -> ReportedBatches | None:
    """Put the batches of folds together; one was trained on if any fold that reports on it did."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    names, code_C = np.unique(
        np.concatenate([part.names[part.code_C] for part in known]), return_inverse=True
    )
    trained_on = np.concatenate([part.names[part.trained_on_B] for part in known])
    return ReportedBatches(
        names=names, code_C=code_C.astype(np.int32), trained_on_B=np.isin(names, trained_on)
    )


def _folds(facts: Facts) -> int | None:
    folds = facts.get("protocol", {}).get("folds")
    return None if folds is None else int(folds)


def _replicate_key(facts: Facts, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Give what runs of one replicate have in common: all but the fold and what it starts from."""
    if _folds(facts) is None:
        return repr([facts["run_id"], facts["arm"]])
    own = settings.get(facts["run_id"], {})
    kept = sorted((key, repr(value)) for key, value in own.items() if key not in OF_ONE_FOLD)
    place = [facts[key] for key in ("arm", "model", "dataset", "fraction", "seed")]
    return repr([*place, facts["data"]["fingerprint"], kept])


def _incomplete(
    several: Sequence[Facts], folds: int, missing: tuple[int, ...]
) -> IncompleteReplicate:
    first = several[0]
    return IncompleteReplicate(
        arm=str(first["arm"]),
        fraction=float(first["fraction"]),
        seed=int(first["seed"]),
        folds=folds,
        missing=missing,
        left_out=tuple(str(facts["run_id"]) for facts in several),
    )


def _replicate(
    several: list[Facts], settings: Mapping[str, Mapping[str, Any]], runs_dir: Path
) -> Facts:
    """Give the facts of one seed over all cells."""
    first = several[0]
    folders = [runs_dir / str(facts["run_id"]) for facts in several]
    reported, classes = predictions(folders)
    scores = metrics.score(
        reported.truth_C,
        reported.predicted_C,
        reported.proba_CK,
        labels=str(first["protocol"].get("metric_labels", "truth")),
        hard=np.flatnonzero(np.isin(classes, settings[first["run_id"]].get(HARD) or [])),
    )
    warnings = dict.fromkeys(str(text) for facts in several for text in facts.get("warnings", ()))
    return {
        **first,
        "protocol": {key: value for key, value in first["protocol"].items() if key != "fold"},
        "selected": {**(first.get("selected") or {}), "best_epoch": None},
        "split": {
            "fingerprint": _digest(facts["split"]["fingerprint"] for facts in several),
            "cells": _sizes([facts["split"]["cells"] for facts in several]),
        },
        "metrics": {"test": scores},
        "per_class": {"test": metrics.per_class(reported.truth_C, reported.predicted_C, classes)},
        "warnings": list(warnings),
        "cost": _costs([facts.get("cost") or {} for facts in several]),
        RUNS: several,
    }


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("|".join(texts).encode()).hexdigest()


def _sizes(cells: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Add up the reported cells; of the other parts, which overlap, give the mean."""
    mean = {part: round(np.mean([each.get(part, 0) for each in cells])) for part in cells[0]}
    return mean | {"test": sum(each["test"] for each in cells)}


def _costs(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what the fits of a replicate took."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for cost in costs for name in cost):
        values = [cost.get(name) for cost in costs]
        numbers = [value for value in values if isinstance(value, int | float)]
        found[name] = (max if name in PEAKS else sum)(numbers) if numbers else None
    return found
