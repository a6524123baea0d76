"""One configuration → one record: the story, top to bottom."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from leadline import distributed, models, processes
from leadline.config import TRAINING_SWITCHES, RunConfig, resolve
from leadline.data.cells import Cells
from leadline.data.splits import leakage
from leadline.data.splits.split import Split
from leadline.distributed import World
from leadline.errors import UserError
from leadline.processes import Notice, Preempted
from leadline.progress import say
from leadline.runs import tracking
from leadline.runs.prepare import Job, arm_of, learner, prepare, pretrainer, tell, tracker_of
from leadline.runs.provenance import Stopwatch, provenance
from leadline.runs.record import FAILED, Predictions, Record, State, open_record, state, tidy
from leadline.runs.tracking import Tracker
from leadline.stats import metrics

if TYPE_CHECKING:
    from leadline.runs.tasks.pretrain import Pretraining
    from leadline.training import Classifier


def facts_of_run(job: Job, fit: models.Fit) -> dict[str, Any]:
    """Gather what the record says of the run itself."""
    config, cells = job.config, job.cells
    protocol = asdict(config.protocol)
    if not job.by_epochs:
        protocol = {key: protocol[key] for key in protocol if key not in TRAINING_SWITCHES}
    return {
        "run_id": job.run_id,
        "task": config.task,
        "study": config.study or None,
        "arm": arm_of(config),
        "dataset": config.data.name,
        "model": config.model.name,
        "fraction": config.data.fraction,
        "seed": config.seed,
        "protocol": protocol | {"version": resolve.VERSION},
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
    labels = f"{len(cells.classes)} classes" if cells.classes else "no labels"
    return f"{len(cells.genes):,} genes ({cells.scale}), {labels}; {sizes}"


def summary(run_id: str, facts: Mapping[str, Any]) -> str:
    """Say in one line what came of it."""
    test = facts["metrics"]["test"]
    shown = {name: metrics.title(name) for name in metrics.HEADLINE}
    if facts["task"] == "pretrain":
        shown = {name: metrics.title(name) for name in test}
    numbers = ", ".join(f"{words} {test[name]:.4f}" for name, words in shown.items())
    line = f"{run_id} done: {numbers}"
    return "\n".join([line, *(f"  warning: {text}" for text in facts["warnings"])])


def warnings_of(
    job: Job, fit: models.Fit, scores: Mapping[str, float], said: Predictions | None
) -> list[str]:
    """Gather what a careful reader must know; `said` is None where no labels are predicted."""
    warnings = [*job.split.warnings, *fit.warnings]
    if said is None:
        return [*warnings, *metrics.no_better_than_rules(scores)]
    if job.by_epochs and job.config.protocol.class_weights == "whole":
        warnings.append("class weights count the reported cells too, as in the paper's code")
    # To call every cell the same is what the majority control is for.
    if metrics.collapsed(said.predicted_C) and job.config.model.name != "majority":
        called = job.cells.classes[said.predicted_C[0]]
        warnings.append(f"collapsed: every cell is called {called!r}")
    return warnings


class RunFailed(Exception):
    """A run ended without a result; its folder holds the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What fitting and predicting gave; a pretraining predicts no labels and is scored at once."""

    fit: models.Fit
    parts: dict[str, Predictions]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


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
    with processes.heeded() as notice, distributed.joined(world, config.train.device) as store:
        job = prepare(config)
        with distributed.following(world) as call:
            if world.leads:
                with tracking.opened(tracker_of(job, say_too=True)) as tracker:
                    lead(job, world, notice, store, call, watch, tracker)
                    tracker.finish(job.folder)
            elif call():
                follow(job, world, notice, store)
    return job.folder


def lead(
    job: Job,
    world: World,
    notice: Notice,
    store: Any,
    call: distributed.Call,
    watch: Stopwatch,
    tracker: Tracker,
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
            outcome = conduct(job, world, notice, tracker)
            facts = write(record, job, outcome)
        record.write_facts(facts | costs(outcome.fit, watch))
        record.finish()
        record.vault.settle(keep_best=job.config.train.keep_best and not job.pretrains)
        tell(job.folder, summary(job.run_id, facts))


def follow(job: Job, world: World, notice: Notice, store: Any) -> None:
    """Compute along with rank 0, which writes."""
    try:
        conduct(job, world, notice, tracking.Silent())
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
        from leadline.training.ranks import RankFailed

        told = distributed.confessions(store)
        told.append(str(error) if isinstance(error, RankFailed) else traceback.format_exc())
        record.fail("\n\n".join(told))
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise RunFailed(
            f"{job.run_id} failed: {first_reason(told[0])}; {job.folder / FAILED} tells more"
        ) from error


def conduct(job: Job, world: World, notice: Notice, tracker: Tracker) -> Outcome:
    """Fit and predict: here, or in as many processes as the configuration asks for."""
    train = job.config.train
    if world.size == 1 and train.devices > 1 and job.by_epochs:
        from leadline.training import ranks

        outcome = ranks.ranks(train.devices, train.device, compute_on_rank, job.config)
        assert isinstance(outcome, Outcome)
        return outcome
    return compute(job, world, notice, tracker)


def compute_on_rank(world: World, notice: Notice, config: RunConfig) -> Outcome:
    """Do what one process of several does."""
    job = prepare(config)
    chosen = tracker_of(job, say_too=False) if world.leads else tracking.Silent()
    with tracking.opened(chosen) as tracker:
        return compute(job, world, notice, tracker)


@processes.one_thread_of_blas()
def compute(job: Job, world: World, notice: Notice, tracker: Tracker) -> Outcome:
    """Fit, then predict."""
    tracker.begin()
    cells, split = job.cells, job.split
    held = {"test": cells.take(split.test)}
    train = leakage.admit(cells.take(split.train), held["test"])
    selection = cells.take(split.val) if len(split.val) else None
    if selection is not None and job.config.protocol.selection != "reported":
        held["val"] = selection
    if job.pretrains:
        return pretrain(pretrainer(job, world, notice, tracker), train, selection, held)
    model = learner(job, world, notice, tracker)
    fit = model.fit(train, selection)
    # Only here, after everything is chosen, does the model meet the cells that are reported on.
    parts = {part: predict(model, held[part]) for part in held}
    if job.by_epochs:
        fit = afterwards(cast("Classifier", model), fit, job, held["test"])
    return Outcome(fit=fit, parts=parts)


def afterwards(model: Classifier, fit: models.Fit, job: Job, reported: Cells) -> models.Fit:
    """Add what only a fitted network can tell: the effect of batches, positions of all cells."""
    arrays = dict(fit.arrays)
    if job.config.train.save_embeddings:
        arrays["embeddings.npz"] = model.embed(job.cells)
    return replace(fit, arrays=arrays, warnings=[*fit.warnings, *model.effect_of_batches(reported)])


def pretrain(
    model: Pretraining, corpus: Cells, selection: Cells | None, held: Mapping[str, Cells]
) -> Outcome:
    """Learn genes from genes, then judge on the cells that were held back."""
    fit = model.fit(corpus, selection)
    found = {part: model.measure(cells) for part, cells in held.items()}
    scores = {part: measured.scores for part, measured in found.items()}
    tables = {**fit.tables, **found["test"].tables}
    return Outcome(fit=replace(fit, tables=tables), parts={}, scores=scores)


def write(record: Record, job: Job, outcome: Outcome) -> dict[str, Any]:
    """Write predictions and tables; give what the record says of them."""
    fit, parts = outcome.fit, outcome.parts
    if parts:
        record.write_predictions(parts, job.cells.classes)
    for name, text in fit.tables.items():
        record.write_table(name, text)
    for name, arrays in fit.arrays.items():
        record.write_arrays(name, arrays)
    if fit.epochs:
        record.write_epochs(fit.epochs)
    scores = outcome.scores | {
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
        "warnings": warnings_of(job, fit, scores["test"], parts.get("test")),
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


def first_reason(text: str) -> str:
    """Give the last line of the first paragraph: of a traceback, that which says what happened."""
    paragraph = text.strip().partition("\n\n")[0]
    return paragraph.splitlines()[-1]
