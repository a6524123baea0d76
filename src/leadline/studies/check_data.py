"""Whether somebody's own cells suffice for what a study asks, before anything is run.

What is found here would fail run by run later; one line with the remedy is of more use.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline.config import FileData, LogregConfig, RunConfig, resolve
from leadline.config.compose import compose_many
from leadline.config.tasks import TASKS
from leadline.data import cache, datasets
from leadline.data.cells import Cells, could_be_labels, require_scale
from leadline.errors import UserError
from leadline.runs.prepare import make_model, split_cells
from leadline.studies.expand import Plan
from leadline.studies.overrides import to_overrides


def require_suited(plan: Plan) -> None:
    """Refuse cells without labels, of a wrong scale or one class, or too few for a fraction.

    Raises
    ------
    UserError
        With the columns that could be labels, or the fractions that can be studied.
    """
    wishes = [wish for wish in plan.runs if wish.arm == plan.study.reference]
    settings = [wish.settings for wish in wishes if not wish.starts_from]
    if not settings:
        return
    (first,) = compose_many([to_overrides(settings[0])])
    if not isinstance(first.data, FileData) or not TASKS[first.task].reads_labels:
        return
    seen: dict[float, dict[int | None, RunConfig]] = {}
    for config in compose_many([to_overrides(one) for one in settings]):
        seen.setdefault(config.data.fraction, {}).setdefault(config.protocol.fold, config)
    require_label(first)
    cells = cache.load_once(first.data, Path(first.data_dir)).cells
    require_scale(cells, make_model(first, {}).accepts, first.model.name)
    require_classes(cells, first)
    require_enough(cells, seen)


def require_label(config: RunConfig) -> None:
    """Refuse a missing label column and name those that could be it."""
    if config.data.label is not None:
        return
    paths = datasets.files(config.data, Path(config.data_dir))
    found = could_be_labels(paths[0])
    name = found[0].partition(" (")[0] if found else "COLUMN"
    raise UserError(
        "the column with the cell types must be named",
        got=f"no data.label; {paths[0].name} has {', '.join(found) or 'none that could be it'}",
        remedy=f"add for example \"data.label='{name}'\"" if found else "add it to obs first",
    )


def require_classes(cells: Cells, config: RunConfig) -> None:
    """Refuse cells of a single type and name other columns."""
    if len(cells.classes) >= 2:
        return
    paths = datasets.files(config.data, Path(config.data_dir))
    others = could_be_labels(paths[0])
    shown = f"; other columns: {', '.join(others)}" if others else ""
    raise UserError(
        "cell types can be told apart only where there are at least 2",
        got=f"{len(cells):,} cells, all {cells.classes[0]!r} in {config.data.label!r}{shown}",
        remedy="name another column with data.label=",
    )


def require_enough(cells: Cells, by_fraction: dict[float, dict[int | None, RunConfig]]) -> None:
    """Refuse a fraction that leaves too few labelled cells, in any fold, to choose anything on."""
    problems = {
        fraction: next(filter(None, (problem_of(cells, each) for each in by_fold.values())), "")
        for fraction, by_fold in by_fraction.items()
    }
    bad = {fraction: why for fraction, why in problems.items() if why}
    if not bad:
        return
    able = sorted(set(problems) - set(bad))
    fraction, why = next(iter(bad.items()))
    remedy = (
        f"study what they suffice for: data.fraction={','.join(f'{x:g}' for x in able)}"
        if able
        else "label more cells, merge types that are rare, or name a coarser column"
    )
    raise UserError(
        "own cells must be enough for every data.fraction of the study",
        got=f"{len(cells):,} cells of {len(cells.classes)} types, and with "
        f"data.fraction={fraction:g} {why}",
        remedy=remedy,
    )


def problem_of(cells: Cells, config: RunConfig) -> str:
    """Say why models cannot be fitted to a fraction of the cells, if they cannot."""
    try:
        for selects in (False, True):
            resolved = resolve.resolve(config, selects=selects)
            split = split_cells(cells, resolved)
            if not selects:
                labelled = split.train
    except UserError as error:
        # Whatever fraction is chosen, these stay: the message of their own says more.
        if not any(word in error.rule for word in ("fraction", "selection", "fewshot")):
            raise
        return f"{error.rule}: {error.got}"
    assert cells.labels_C is not None
    largest = int(np.bincount(cells.labels_C[labelled]).max())
    folds = folds_of(config)
    if largest < folds:
        return f"{len(labelled)} labelled ones, at most {largest} of a type, for {folds} folds"
    return ""


def folds_of(config: RunConfig) -> int:
    """Give how many parts the baseline's cross-validation needs, whose C may be fixed."""
    model = config.model
    return model.folds if isinstance(model, LogregConfig) and model.C is None else 1
