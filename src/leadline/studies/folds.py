"""Folds in a study: each run that leaves its fold open becomes one run a fold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from leadline.config import RunConfig
from leadline.studies.schema import Mark, Settings

FOLDS, FOLD = "protocol.folds", "protocol.fold"
# Follows the name of a pretraining run that is made without the cells of one fold.
OF_FOLD = " of fold "


def over_folds(settings: Settings) -> Iterator[dict[str, Any]]:
    """Give the settings of a run of each fold; those of a run without folds as they are.

    A pretraining run that it starts from is one of the same fold, for no cell that is reported on
    may have been seen.
    """
    folds = settings.get(FOLDS)
    if not isinstance(folds, int):
        # None, or what the configuration of the run refuses.
        yield dict(settings)
        return
    chosen = [settings[FOLD]] if settings.get(FOLD) is not None else range(1, folds + 1)
    for fold in chosen:
        yield {**of_same_fold(settings, fold), FOLD: fold}


def of_same_fold(settings: Settings, fold: int) -> dict[str, Any]:
    """Let every name of a pretraining run stand for the one of this fold."""
    return {
        key: Mark(f"{value}{OF_FOLD}{fold}") if isinstance(value, Mark) else value
        for key, value in settings.items()
    }


def filed_under(name: str) -> str:
    """Give the name that a study's file has for a pretraining run of a fold."""
    return name.partition(OF_FOLD)[0]


def folds_of(runs: Iterable[Mapping[str, Any]]) -> dict[str, Settings]:
    """Give the folds that a pretraining run must be made for, by its name."""
    found: dict[str, Settings] = {}
    for settings in runs:
        for value in settings.values():
            if isinstance(value, Mark):
                about = {key: settings[key] for key in (FOLDS, FOLD) if OF_FOLD in value}
                found.setdefault(value[1:], about)
    return found


def told(configs: Iterable[RunConfig]) -> str:
    """Say what folds mean and cost, if a study has any."""
    folds = sorted({each.protocol.folds for each in configs if each.protocol.folds is not None})
    if not folds:
        return ""
    many = " or ".join(map(str, folds))
    return (
        f"each cell is reported once, in {many} folds: {many} fits where one split has one "
        "(protocol.folds=null goes back to one split)"
    )
