"""One configuration → one record: the story, top to bottom."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leadline import distributed, firewall, metrics, models, preempt, protocols, tracking
from leadline.cells import Cells
from leadline.config import TRAINING_SWITCHES, RunConfig
from leadline.distributed import World
from leadline.errors import UserError
from leadline.job import Job, learner, prepare, tell
from leadline.preempt import Notice, Preempted
from leadline.progress import say
from leadline.provenance import Stopwatch, provenance
from leadline.record import FAILED, Predictions, Record, State, open_record, state, tidy
from leadline.splits import Split


class RunFailed(Exception):
    """A run ended without a result; its folder holds the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What fitting and predicting gave."""

    fit: models.Fit
    parts: dict[str, Predictions]


def run(config: RunConfig) -> Path:
    """Compute one run unless its record is there already; give the record's folder.

    Called by each of several ranks (torchrun, srun) it computes the run together with them.

    Raises
    ------
    UserError
        When the configuration and the cells do not go together.
    RunFailed
        When anything else went wrong after the record was opened.
    preempt.Preempted
        When the machine was wanted back; the same call goes on later.
    lock.Busy
        When another worker computes this run.
    """
    watch = Stopwatch()
    world = distributed.from_environment()
    with preempt.heeded() as notice, distributed.joined(world, config.train.device) as store:
        job = prepare(config)
        with distributed.following(world) as call:
            if world.leads:
                lead(job, world, notice, store, call, watch)
            elif call():
                follow(job, world, notice, store)
    return job.folder


def lead(
    job: Job, world: World, notice: Notice, store: Any, call: distributed.Call, watch: Stopwatch
) -> None:
    """Compute a run and write its record."""
    if state(job.folder) is State.DONE:
        tidy(job.folder)
        say(f"{job.run_id} is done already: nothing to do")
        return
    with open_record(job.folder) as record:
        if state(job.folder) is State.DONE:
            return
        tell(job.folder, f"{job.run_id} starts: {describe(job.cells, job.split)}")
        record.write_config(asdict(job.config))
        with failures_told(record, job, store):
            call()
            outcome = conduct(job, world, notice)
            facts = write(record, job, outcome)
        record.write_facts(facts | costs(outcome.fit, watch))
        record.finish()
        record.vault.settle(keep_best=job.config.train.keep_best)
        tell(job.folder, summary(job.run_id, facts))
    tracker = tracking.build(job.config.tracker, job.run_id)
    for part, scores in facts["metrics"].items():
        tracker.log(0, {f"{part}/{name}": value for name, value in scores.items()})


def follow(job: Job, world: World, notice: Notice, store: Any) -> None:
    """Compute along with rank 0, which writes."""
    try:
        conduct(job, world, notice)
    except Exception as error:
        distributed.confess(store, world.rank, traceback.format_exc())
        raise RunFailed(f"{job.run_id} failed on rank {world.rank}: {error!r}") from error


@contextmanager
def failures_told(record: Record, job: Job, store: Any) -> Iterator[None]:
    """Write into the record why a run ended without a result."""
    try:
        yield
    except Preempted:
        tell(job.folder, f"{job.run_id} is stopped by SIGTERM; the same command goes on")
        raise
    except BaseException as error:
        from leadline.launch import RankFailed

        told = distributed.confessions(store)
        told.append(str(error) if isinstance(error, RankFailed) else traceback.format_exc())
        record.fail("\n\n".join(told))
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise RunFailed(
            f"{job.run_id} failed: {first_reason(told[0])}; {job.folder / FAILED} tells more"
        ) from error


def conduct(job: Job, world: World, notice: Notice) -> Outcome:
    """Fit and predict: here, or in as many processes as the configuration asks for."""
    train = job.config.train
    if world.size == 1 and train.devices > 1 and job.by_epochs:
        from leadline import launch

        outcome = launch.ranks(train.devices, train.device, compute_on_rank, job.config)
        assert isinstance(outcome, Outcome)
        return outcome
    return compute(job, world, notice)


def compute_on_rank(world: World, notice: Notice, config: RunConfig) -> Outcome:
    """Do what one process of several does."""
    return compute(prepare(config), world, notice)


def compute(job: Job, world: World, notice: Notice) -> Outcome:
    """Fit, then predict."""
    cells, split = job.cells, job.split
    model = learner(job, world, notice)
    reported = cells.take(split.test)
    train = firewall.admit(cells.take(split.train), reported)
    fit = model.fit(train, cells.take(split.val) if len(split.val) else None)
    # Only here, after everything is chosen, does the model meet the cells that are reported on.
    parts = {"test": predict(model, reported)}
    if len(split.val) and job.config.protocol.selection != "reported":
        parts["val"] = predict(model, cells.take(split.val))
    return Outcome(fit=fit, parts=parts)


def write(record: Record, job: Job, outcome: Outcome) -> dict[str, Any]:
    """Write predictions and tables; give what the record says of them."""
    fit, parts = outcome.fit, outcome.parts
    record.write_predictions(parts, job.cells.classes)
    for name, text in fit.tables.items():
        record.write_table(name, text)
    if fit.epochs:
        record.write_epochs(fit.epochs)
    scores = {
        part: metrics.score(
            said.truth_C,
            said.predicted_C,
            said.proba_CK,
            labels=job.config.protocol.metric_labels,
            hard=job.hard,
        )
        for part, said in parts.items()
    }
    per_class = {
        part: metrics.per_class(said.truth_C, said.predicted_C, job.cells.classes)
        for part, said in parts.items()
    }
    return facts_of_run(job, fit) | {
        "metrics": scores,
        "per_class": per_class,
        "warnings": warnings_of(job, fit, parts["test"]),
    }


def warnings_of(job: Job, fit: models.Fit, said: Predictions) -> list[str]:
    """Gather what a careful reader must know."""
    warnings = [*job.split.warnings, *fit.warnings]
    if job.by_epochs and job.config.protocol.class_weights == "whole":
        warnings.append("class weights count the reported cells too, as in the paper's code")
    # To call every cell the same is what the majority control is for.
    if metrics.collapsed(said.predicted_C) and job.config.model.name != "majority":
        called = job.cells.classes[said.predicted_C[0]]
        warnings.append(f"collapsed: every cell is called {called!r}")
    return warnings


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


def facts_of_run(job: Job, fit: models.Fit) -> dict[str, Any]:
    """Gather what the record says of the run itself."""
    config, cells = job.config, job.cells
    protocol = asdict(config.protocol)
    if not job.by_epochs:
        protocol = {key: protocol[key] for key in protocol if key not in TRAINING_SWITCHES}
    return {
        "run_id": job.run_id,
        "study": config.study or None,
        "arm": config.arm or config.model.name,
        "dataset": config.data.name,
        "model": config.model.name,
        "fraction": config.data.fraction,
        "seed": config.seed,
        "protocol": protocol | {"version": protocols.VERSION},
        "selected": {
            "best_epoch": fit.facts.get("best_epoch"),
            "by": fit.facts.get("selected_by"),
            "selection": config.protocol.selection,
        },
        "fit": {key: value for key, value in fit.facts.items() if key != "execution"},
        "data": {
            "fingerprint": job.data_fingerprint,
            "cells": len(cells),
            "genes": len(cells.genes),
            "scale": str(cells.scale),
            "classes": list(cells.classes),
            "notes": list(cells.notes),
        },
        "split": {"fingerprint": job.split.fingerprint(), "cells": job.split.sizes()},
    }


def costs(fit: models.Fit, watch: Stopwatch) -> dict[str, Any]:
    """Give where, with what and at what cost the run was made; none of it is science."""
    execution = dict(fit.facts.get("execution", {}))
    where = provenance(
        device=execution.pop("device", "cpu"), world_size=execution.pop("world_size", 1)
    )
    return {"provenance": where, "cost": watch.cost() | execution}


def describe(cells: Cells, split: Split) -> str:
    """Say in one line what the run works on."""
    sizes = ", ".join(f"{count:,} {part}" for part, count in split.sizes().items() if count)
    return f"{len(cells.genes):,} genes ({cells.scale}), {len(cells.classes)} classes; {sizes}"


def summary(run_id: str, facts: Mapping[str, Any]) -> str:
    """Say in one line what came of it."""
    test = facts["metrics"]["test"]
    line = f"{run_id} done: accuracy {test['accuracy']:.4f}, macro F1 {test['macro_f1']:.4f}"
    return "\n".join([line, *(f"  warning: {text}" for text in facts["warnings"])])


def first_reason(text: str) -> str:
    """Give the last line of the first paragraph: of a traceback, that which says what happened."""
    paragraph = text.strip().partition("\n\n")[0]
    return paragraph.splitlines()[-1]
