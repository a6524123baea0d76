"""One configuration → one record: the story, top to bottom."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline import catalog, firewall, metrics, models, protocols, tracking
from leadline.cells import Cells, require_scale
from leadline.config import RunConfig, science
from leadline.errors import UserError, nearest
from leadline.provenance import Stopwatch, provenance
from leadline.record import FAILED, Predictions, Record, State, identify, open_record, state, tidy
from leadline.splits import Split, make_split


class RunFailed(Exception):
    """A run ended without a result; its folder holds the reason."""


def run(config: RunConfig) -> Path:
    """Compute one run unless its record is there already; give the record's folder.

    Raises
    ------
    UserError
        When the configuration and the cells do not go together.
    RunFailed
        When anything else went wrong after the record was opened.
    lock.Busy
        When another worker computes this run.
    """
    watch = Stopwatch()
    config = protocols.resolve(config, selects=config.model.name not in models.BASELINES)
    model = models.build(config.model, seed=config.seed)
    cells = catalog.load(config.data, Path(config.data_dir))
    require_scale(cells, model.accepts, config.model.name)
    hard = hard_classes(cells, config)
    split = split_cells(cells, config)
    data_fingerprint = cells.fingerprint()
    run_id = run_id_of(config, data_fingerprint, split)
    folder = Path(config.runs_dir).expanduser() / run_id
    if state(folder) is State.DONE:
        tidy(folder)
        say(f"{run_id} is done already: nothing to do")
        return folder
    with open_record(folder) as record:
        if state(folder) is State.DONE:
            return folder
        tell(record, f"{run_id} starts: {describe(cells, split)}")
        record.write_config(asdict(config))
        try:
            facts = compute(record, config, model, cells, split, hard)
        except BaseException as error:
            record.fail(traceback.format_exc())
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            raise RunFailed(f"{run_id} failed: {error!r}; {folder / FAILED} tells more") from error
        identity = {"run_id": run_id, "fingerprint": data_fingerprint}
        record.write_facts(facts_of_run(config, cells, split, identity, facts) | watch_facts(watch))
        record.finish()
        tell(record, summary(run_id, facts))
    tracker = tracking.build(config.tracker, run_id)
    for part, scores in facts["metrics"].items():
        tracker.log(0, {f"{part}/{name}": value for name, value in scores.items()})
    return folder


def split_cells(cells: Cells, config: RunConfig) -> Split:
    """Draw the parts and let nothing past that leaks."""
    split = make_split(
        cells,
        config.protocol,
        seed=config.seed,
        fraction=config.data.fraction,
        label=str(config.data.label),
    )
    return firewall.enforce(
        cells,
        split,
        duplicates=config.protocol.duplicates,
        selection=config.protocol.selection,
    )


def run_id_of(config: RunConfig, data_fingerprint: str, split: Split) -> str:
    """Name the run by its science: the same on every machine and in every folder."""
    identity = {
        "config": science(config),
        "data": data_fingerprint,
        "split": split.fingerprint(),
        "protocol_version": protocols.VERSION,
    }
    words = (config.model.name, config.data.name, f"f{config.data.fraction:g}", f"s{config.seed}")
    return identify(identity, "-".join(words))


def compute(
    record: Record,
    config: RunConfig,
    model: models.Model,
    cells: Cells,
    split: Split,
    hard: NDArray[np.int64],
) -> dict[str, Any]:
    """Fit, predict, score; write the predictions; give the facts that came of it."""
    reported = cells.take(split.test)
    train = firewall.admit(cells.take(split.train), reported)
    fit = model.fit(train, cells.take(split.val) if len(split.val) else None)
    # Only here, after everything is chosen, does the model meet the cells that are reported on.
    parts = {"test": predict(model, reported)}
    if len(split.val) and config.protocol.selection != "reported":
        parts["val"] = predict(model, cells.take(split.val))
    record.write_predictions(parts, cells.classes)
    for name, text in fit.tables.items():
        record.write_table(name, text)
    if fit.epochs:
        record.write_epochs(fit.epochs)
    scores = {
        part: metrics.score(
            said.truth_C,
            said.predicted_C,
            said.proba_CK,
            labels=config.protocol.metric_labels,
            hard=hard,
        )
        for part, said in parts.items()
    }
    said = parts["test"]
    warnings = [*fit.warnings]
    # To call every cell the same is what the majority control is for.
    if metrics.collapsed(said.predicted_C) and config.model.name != "majority":
        warnings.append(f"collapsed: every cell is called {cells.classes[said.predicted_C[0]]!r}")
    return {
        "metrics": scores,
        "per_class": {
            part: metrics.per_class(said.truth_C, said.predicted_C, cells.classes)
            for part, said in parts.items()
        },
        "fit": dict(fit.facts),
        "warnings": warnings,
    }


def predict(model: models.Model, cells: Cells) -> Predictions:
    """Ask the model for the class probabilities of these cells."""
    assert cells.labels_C is not None
    proba_CK = model.predict_proba(cells)
    return Predictions(
        ids=cells.ids,
        truth_C=cells.labels_C,
        predicted_C=proba_CK.argmax(axis=1).astype(np.int32),
        proba_CK=proba_CK.astype(np.float16),
    )


def hard_classes(cells: Cells, config: RunConfig) -> NDArray[np.int64]:
    """Find the classes that are reported on separately."""
    for name in config.data.hard_classes:
        if name not in cells.classes:
            raise UserError(
                f"data.hard_classes must be values of {config.data.label!r}",
                got=repr(name),
                remedy=nearest(name, cells.classes),
            )
    return np.array([cells.classes.index(name) for name in config.data.hard_classes], dtype=int)


def facts_of_run(
    config: RunConfig,
    cells: Cells,
    split: Split,
    identity: Mapping[str, str],
    computed: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather what the record says beside the predictions."""
    protocol = asdict(config.protocol)
    return {
        "run_id": identity["run_id"],
        "study": None,
        "arm": config.model.name,
        "dataset": config.data.name,
        "model": config.model.name,
        "fraction": config.data.fraction,
        "seed": config.seed,
        "protocol": protocol | {"version": protocols.VERSION},
        "metrics": computed["metrics"],
        "per_class": computed["per_class"],
        "selected": {"best_epoch": None, "selection": config.protocol.selection},
        "fit": computed["fit"],
        "data": {
            "fingerprint": identity["fingerprint"],
            "cells": len(cells),
            "genes": len(cells.genes),
            "scale": str(cells.scale),
            "classes": list(cells.classes),
            "notes": list(cells.notes),
        },
        "split": {"fingerprint": split.fingerprint(), "cells": split.sizes()},
        "warnings": [*split.warnings, *computed["warnings"]],
    }


def watch_facts(watch: Stopwatch) -> dict[str, Any]:
    """Give where, with what and at what cost the run was made."""
    return {"provenance": provenance(), "cost": watch.cost()}


def describe(cells: Cells, split: Split) -> str:
    """Say in one line what the run works on."""
    sizes = ", ".join(f"{count:,} {part}" for part, count in split.sizes().items() if count)
    return f"{len(cells.genes):,} genes ({cells.scale}), {len(cells.classes)} classes; {sizes}"


def summary(run_id: str, facts: Mapping[str, Any]) -> str:
    """Say in one line what came of it."""
    test = facts["metrics"]["test"]
    line = f"{run_id} done: accuracy {test['accuracy']:.4f}, macro F1 {test['macro_f1']:.4f}"
    return "\n".join([line, *(f"  warning: {text}" for text in facts["warnings"])])


def tell(record: Record, text: str) -> None:
    """Tell the person who waits, and the log."""
    say(text)
    record.log(text)


def say(text: str) -> None:
    """Tell the person who waits; stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)
