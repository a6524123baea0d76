"""One configuration → one record: the story, top to bottom."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline import distributed, models, processes
from leadline.config import TRAINING_SWITCHES, RunConfig, as_recorded, resolve
from leadline.config.tasks import PREDICTIONS
from leadline.data.cells import Cells
from leadline.data.splits import leakage
from leadline.data.splits.split import Split
from leadline.distributed import World
from leadline.errors import NotApplicable, UserError
from leadline.processes import Preempted, StopRequest
from leadline.progress import say
from leadline.runs import damage, tracking
from leadline.runs.identity import arm_of
from leadline.runs.prepare import prepare
from leadline.runs.provenance import Stopwatch, provenance
from leadline.runs.record import (
    FAILED,
    Record,
    ReportedBatches,
    State,
    append_log,
    open_record,
    state,
    tell,
    tidy,
)
from leadline.runs.tasks.base import ComputedRun, Job, SplitCells
from leadline.runs.tracking import Tracker
from leadline.stats import metrics


def record_fields(job: Job, fit: models.FitResult) -> dict[str, Any]:
    """Gather what the record says of the run itself."""
    config, cells = job.config, job.cells
    protocol = as_recorded(config.protocol)
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
            "fingerprint": job.named.data_fingerprint,
            "cells": len(cells),
            "genes": len(cells.genes),
            "scale": str(cells.scale),
            "classes": list(cells.classes),
            "notes": list(cells.notes),
        },
        "split": {"fingerprint": job.split.fingerprint(), "cells": job.split.sizes()},
    }


def costs(fit: models.FitResult, watch: Stopwatch) -> dict[str, Any]:
    """Give where, with what and at what cost the run was made; none of it is science."""
    execution = dict(fit.facts.get("execution", {}))
    where = provenance(
        device=execution.pop("device", "cpu"), world_size=execution.pop("world_size", 1)
    )
    return {"provenance": where, "cost": watch.cost() | execution}


def start_line(cells: Cells, split: Split) -> str:
    """Say in one line what the run works on."""
    sizes = ", ".join(f"{count:,} {part}" for part, count in split.sizes().items() if count)
    labels = f"{len(cells.classes)} classes" if cells.classes else "no labels"
    return f"{len(cells.genes):,} genes ({cells.scale}), {labels}; {sizes}"


def end_line(job: Job, facts: Mapping[str, Any]) -> str:
    """Say what came of it: the scores of the reported cells in one line, then the warnings."""
    line = f"{job.run_id} done: {job.task.log_line(facts['metrics']['test'])}"
    return "\n".join([line, *(f"  warning: {text}" for text in facts["warnings"])])


class RunFailed(Exception):
    """A run ended without a result; its folder holds the reason."""


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
    with (
        processes.sigterm_as_stop() as notice,
        distributed.process_group(world, config.train.device) as store,
    ):
        job = prepare(config)
        with distributed.wait_for_leader(world) as start:
            if world.leads:
                with tracking.opened(tracker_of(job, say_too=True)) as tracker:
                    lead(job, world, notice, store, start, watch, tracker)
                    tracker.finish(job.folder)
            elif start():
                follow(job, world, notice, store)
    return job.folder


def lead(
    job: Job,
    world: World,
    notice: StopRequest,
    store: Any,
    start: distributed.StartSignal,
    watch: Stopwatch,
    tracker: Tracker,
) -> None:
    """Compute a run and write its record."""
    if state(job.folder) is State.DAMAGED:
        damage.require_usable(job.folder)
    if state(job.folder) is State.DONE:
        tidy(job.folder)
        say(f"{job.run_id} is done already: nothing to do")
        return
    with open_record(job.folder) as record:
        if state(job.folder) is State.DONE:
            return
        tell(job.folder, f"{job.run_id} starts: {start_line(job.cells, job.split)}")
        record.write_config(as_recorded(job.config))
        with failures_told(record, job, store):
            start()
            computed = conduct(job, world, notice, tracker)
            facts = write(record, job, computed)
        record.write_facts(facts | costs(computed.fit, watch))
        record.finish()
        record.vault.keep_final(keep_best=keeps_best(job))
        tell(job.folder, end_line(job, facts))


def follow(job: Job, world: World, notice: StopRequest, store: Any) -> None:
    """Compute along with rank 0, which writes."""
    try:
        conduct(job, world, notice, tracking.Silent())
    except Exception as error:
        distributed.report_failure(store, world.rank, traceback.format_exc())
        raise RunFailed(f"{job.run_id} failed on rank {world.rank}: {error!r}") from error


@contextmanager
def failures_told(record: Record, job: Job, store: Any) -> Iterator[None]:
    """Write into the record why a run ended without a result."""
    try:
        yield
    except Preempted as stopped:
        if told := distributed.failures(store):
            # srun ends the others when one has failed.
            record.fail("\n\n".join(told))
            raise RunFailed(f"{job.run_id} failed: {first_reason(told[0])}") from stopped
        tell(job.folder, f"{job.run_id} is stopped by SIGTERM; the same command goes on")
        raise
    except BaseException as error:
        from leadline.training.ranks import RankFailed

        told = distributed.failures(store)
        plain = isinstance(error, RankFailed | NotApplicable)
        told.append(str(error) if plain else traceback.format_exc())
        record.fail("\n\n".join(told))
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise RunFailed(
            f"{job.run_id} failed: {first_reason(told[0])}; {job.folder / FAILED} tells more"
        ) from error


def conduct(job: Job, world: World, notice: StopRequest, tracker: Tracker) -> ComputedRun:
    """Fit and predict: here, or in as many processes as the configuration asks for."""
    train = job.config.train
    if world.size == 1 and train.devices > 1 and job.by_epochs:
        from leadline.training import ranks

        computed = ranks.ranks(train.devices, train.device, compute_on_rank, job.config)
        assert isinstance(computed, ComputedRun)
        return computed
    return compute(job, world, notice, tracker)


def compute_on_rank(world: World, notice: StopRequest, config: RunConfig) -> ComputedRun:
    """Do what one process of several does."""
    job = prepare(config)
    chosen = tracker_of(job, say_too=False) if world.leads else tracking.Silent()
    with tracking.opened(chosen) as tracker:
        return compute(job, world, notice, tracker)


@processes.one_thread_of_blas()
def compute(job: Job, world: World, notice: StopRequest, tracker: Tracker) -> ComputedRun:
    """Take the parts of the split and have the task fit, then judge."""
    tracker.begin()
    cells, split = job.cells, job.split
    held_back = {"test": cells.take(split.test)}
    train = leakage.admit(cells.take(split.train), held_back["test"])
    selection = cells.take(split.val) if len(split.val) else None
    if selection is not None and job.config.protocol.selection != "reported":
        held_back["val"] = selection
    parts = SplitCells(train=train, selection=selection, held_back=held_back)
    computed = job.task.fit_and_predict(job, parts, world, notice, tracker)
    # Nobody waits for rank 0 to write, and for its tracker to upload, as long as that may take.
    distributed.part()
    return computed


def keeps_best(job: Job) -> bool:
    """Say whether the best weights stay when the run is done, for predictions of new cells."""
    return job.config.train.keep_best and job.task.row.product == PREDICTIONS


def write(record: Record, job: Job, computed: ComputedRun) -> dict[str, Any]:
    """Write predictions and tables; give what the record says of them."""
    fit, parts = computed.fit, dict(computed.parts)
    if "test" in parts:
        assert np.array_equal(parts["test"].ids, job.cells.ids[job.split.test])
        parts["test"] = replace(parts["test"], batches=reported_batches(job.cells, job.split))
    if parts:
        record.write_predictions(parts, job.cells.classes)
    for name, text in fit.tables.items():
        record.write_table(name, text)
    for name, arrays in fit.arrays.items():
        record.write_arrays(name, arrays)
    if fit.epochs:
        record.write_epochs(fit.epochs)
    scores = job.task.scores(job, computed)
    per_class = {
        part: metrics.per_class(said.truth_C, said.predicted_C, job.cells.classes)
        for part, said in parts.items()
    }
    own_warnings = job.task.warnings(job, computed, scores)
    return record_fields(job, fit) | {
        "metrics": scores,
        "per_class": per_class,
        "warnings": [*job.split.warnings, *fit.warnings, *own_warnings],
    }


def reported_batches(cells: Cells, split: Split) -> ReportedBatches | None:
    """Give the batch of each reported cell, and say which batches the run learnt from."""
    if cells.batch_C is None:
        return None
    names, code_C = np.unique(cells.batch_C[split.test], return_inverse=True)
    learnt_from = cells.batch_C[np.union1d(split.train, split.val)]
    return ReportedBatches(
        names=names,
        code_C=code_C.astype(np.min_scalar_type(len(names))),
        trained_on_B=np.isin(names, learnt_from),
    )


def tracker_of(job: Job, *, say_too: bool) -> Tracker:
    """Make the tracker of a run; a rank among several leaves its complaints to the log."""
    config = job.config
    identity = tracking.Identity(
        run_id=job.run_id,
        study=config.study or None,
        arm=arm_of(config),
        tags=tracking.tags_of(config),
        config=as_recorded(config),
    )

    def complain(text: str) -> None:
        (tell if say_too else append_log)(job.folder, text)

    return tracking.build(config.tracker, identity, job.folder, complain)


def first_reason(text: str) -> str:
    """Give the last line of the first paragraph: of a traceback, that which says what happened."""
    paragraph = text.strip().partition("\n\n")[0]
    return paragraph.splitlines()[-1]
