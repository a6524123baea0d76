"""A finished run → the model that it fitted.

Logistic regression lies in the record as arrays. A network is built again around the weights of
checkpoints/best.pt. Everything else, and a network whose weights were not kept, is fitted again:
fits are deterministic. What was built or fitted again must repeat what the record says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from leadline.config import EmbeddingConfig, RunConfig, TrainConfig, registry
from leadline.config.tasks import PREDICTIONS, TASKS, WEIGHTS
from leadline.data.cells import Cells, Scale
from leadline.distributed import World
from leadline.errors import UserError
from leadline.models import novelty as likeness
from leadline.models.base import expression
from leadline.models.novelty import Novelty
from leadline.processes import StopRequest
from leadline.progress import say
from leadline.runs import record
from leadline.runs.prepare import prepare
from leadline.runs.tasks.base import Job
from leadline.runs.tasks.classify import learner
from leadline.runs.tracking.base import Silent

# Cells of a network that are asked again; other models are quick enough to be asked all.
CELLS_TO_CHECK = 256
# Another device or BLAS may turn a tie: this share of the cells may be called otherwise, and this
# far may probabilities be away on average.
MAY_DIFFER = 0.02


class Predictor(Protocol):
    """What is needed of a model after its fit."""

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give class probabilities, shape (C, K) over the run's classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model as it was after its fit, and what must be known of its training cells."""

    model: Predictor
    genes: NDArray[np.str_]
    classes: tuple[str, ...]
    scale: Scale
    likeness: Novelty


def fitted(folder: Path, config: RunConfig) -> LoadedModel:
    """Give the model of a finished run."""
    refuse_blind(config)
    if config.model.name == "logreg":
        from leadline.models.logreg import model as kept

        if (folder / kept.FILE).exists():
            with np.load(folder / kept.FILE, allow_pickle=False) as stored:
                found = kept.from_arrays(stored)
            return LoadedModel(
                model=found,
                genes=found.genes,
                classes=found.classes,
                scale=found.scale,
                likeness=found.likeness,
            )
    return refit_model(folder, config)


def refuse_blind(config: RunConfig) -> None:
    """Refuse runs that cannot name a cell."""
    product = TASKS[config.task].product
    if product != PREDICTIONS:
        raise UserError(
            "predict needs a run that learnt labels",
            got=f"a run with task={config.task}",
            remedy="fine-tune it first: leadline run model.pretrained=<this run's id>"
            if product == WEIGHTS
            else "use a run of task=classify",
        )
    if registry.named(config.model.name).family == "control":
        raise UserError(
            "predict needs a model that looks at the cell",
            got=f"model={config.model.name}, a control that does not",
            remedy="use a run of another model",
        )


def refit_model(folder: Path, config: RunConfig) -> LoadedModel:
    """Build or fit the model again from the run's own cells."""
    job = prepare(replace(config, runs_dir=str(folder.parent), train=on_this_machine(config)))
    if job.run_id != folder.name:
        raise UserError(
            "the cells that the run was trained on must still be there, unchanged",
            got=f"cells and settings that make {job.run_id} instead of {folder.name}",
            remedy="name the file as it was with --training, or use a run of logreg, which needs "
            "no training cells",
        )
    train = job.cells.take(job.split.train)
    model = with_weights(job, train)
    require_same(model, job, folder)
    labels_C = train.labels_C
    assert labels_C is not None
    return LoadedModel(
        model=model,
        genes=train.genes,
        classes=train.classes,
        scale=train.scale,
        likeness=likeness.fit_novelty(looked_at(train, config), labels_C),
    )


def on_this_machine(config: RunConfig) -> TrainConfig:
    """Give the training settings without those of the machine that the run was made on."""
    return replace(config.train, device="auto", devices=1, threads=0, micro_batch="auto")


def with_weights(job: Job, train: Cells) -> Predictor:
    """Fit the model, or build it around the weights that its record kept."""
    model = learner(job, World(), StopRequest(), Silent())
    if job.by_epochs:
        from leadline import training

        network = cast(training.Classifier, model)
        if (job.folder / record.CHECKPOINTS / record.BEST).exists():
            network.recall(train, record.BEST)
            return network
        # Neither checkpoints nor lines of this fit belong into a record that is done.
        network.setting = replace(network.setting, vault=training.CheckpointsInMemory(), tell=say)
    spent = record.read_facts(job.folder)["cost"]["wall_seconds"]
    say(f"{job.run_id} kept no weights: fitting it again; the run took {spent:,.0f} s")
    model.fit(train, job.cells.take(job.split.val) if len(job.split.val) else None)
    return model


def require_same(model: Predictor, job: Job, folder: Path) -> None:
    """Refuse a model that does not say of the reported cells what the record says of them."""
    parts, _ = record.read_predictions(folder)
    rows = job.split.test[:CELLS_TO_CHECK] if job.by_epochs else job.split.test
    proba_CK, told = model.predict_proba(job.cells.take(rows)), parts["test"]
    differ = np.count_nonzero(proba_CK.argmax(axis=1) != told.predicted_C[: len(rows)])
    off = float(np.abs(proba_CK - told.proba_CK[: len(rows)]).mean())
    if differ > MAY_DIFFER * len(rows) or off > MAY_DIFFER:
        raise UserError(
            "a model that is made again must repeat its record",
            got=f"{differ:,} of {len(rows):,} reported cells that it calls otherwise, and "
            f"probabilities {off:.3f} away on average",
            remedy="use the versions that record.json names under provenance, or run it again",
        )


def looked_at(cells: Cells, config: RunConfig) -> likeness.Matrix:
    """Give what likeness is measured on: expression, or positions around their centre."""
    if isinstance(config.model, EmbeddingConfig):
        assert cells.positions_CD is not None
        return cells.positions_CD
    return expression(cells, "as_given")
