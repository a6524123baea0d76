"""Classification: a model learns the labels of cells and predicts those of cells held back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leadline import models
from leadline.config import RunConfig, registry
from leadline.data.cells import Cells
from leadline.distributed import World
from leadline.errors import UserError
from leadline.processes import StopRequest
from leadline.runs.record import Predictions
from leadline.runs.tasks.base import ComputedRun, Job, SplitCells, Task, setting_of
from leadline.runs.tracking import Tracker
from leadline.stats import metrics

if TYPE_CHECKING:
    from leadline.training import Classifier

SHOWN = {name: metrics.title(name) for name in metrics.HEADLINE}


class Classify(Task):
    """Fits any model on labelled cells; its product is the predictions of the reported cells."""

    __slots__ = ()

    def requires(self, config: RunConfig) -> None:
        """Refuse a model that names no cells."""
        if config.model.name == "gene2vec":
            raise UserError(
                "model=gene2vec embeds genes and names no cells",
                got="task=classify",
                remedy="add task=pretrain; model=scbert model.gene2vec=<its run id> reads it",
            )
        if not registry.of(config.model).names_cells:
            cells = registry.of(config.model).embeds_cells
            raise UserError(
                f"model={config.model.name} gives {'cells' if cells else 'genes'} vectors and "
                "names none",
                got="task=classify",
                remedy=f"add task={'zero_shot' if cells else 'perturbation'}",
            )

    def fit_and_predict(
        self, job: Job, parts: SplitCells, world: World, notice: StopRequest, tracker: Tracker
    ) -> ComputedRun:
        """Fit, then predict; only when all is chosen does the model meet the reported cells."""
        if job.by_epochs:
            network = classifier(job, world, notice, tracker)
            fit = network.fit(parts.train, parts.selection)
            predicted = {part: predict(network, cells) for part, cells in parts.held_back.items()}
            fit = afterwards(network, fit, job, parts.held_back["test"])
        else:
            model = estimator(job)
            fit = model.fit(parts.train, parts.selection)
            predicted = {part: predict(model, cells) for part, cells in parts.held_back.items()}
        return ComputedRun(fit=fit, parts=predicted)

    def scores(self, job: Job, computed: ComputedRun) -> Mapping[str, Mapping[str, float]]:
        """Compute every metric from the predictions."""
        return {
            part: metrics.score(
                said.truth_C,
                said.predicted_C,
                said.proba_CK,
                labels=job.config.protocol.metric_labels,
                hard=job.hard,
            )
            for part, said in computed.parts.items()
        }

    def warnings(
        self, job: Job, computed: ComputedRun, scores: Mapping[str, Mapping[str, float]]
    ) -> list[str]:
        """Warn of weights that count reported cells, and of one label for every cell."""
        found = []
        if job.by_epochs and job.config.protocol.class_weights == "whole":
            found.append("class weights count the reported cells too, as in the paper's code")
        absent = cannot_be_named(job)
        if absent:
            found.append(
                f"classes without training cells cannot be named: {', '.join(absent)}; "
                "protocol.named_classes=all lets a network name them, as in the paper's code"
            )
        predicted_C = computed.parts["test"].predicted_C
        # To call every cell the same is what the majority control is for.
        if metrics.collapsed(predicted_C) and job.config.model.name != "majority":
            called = job.cells.classes[predicted_C[0]]
            found.append(f"collapsed: every cell is called {called!r}")
        return found

    def log_line(self, scores: Mapping[str, float]) -> str:
        """Write the scores that a reader looks for first."""
        return ", ".join(f"{words} {scores[name]:.4f}" for name, words in SHOWN.items())


def learner(job: Job, world: World, notice: StopRequest, tracker: Tracker) -> models.Model:
    """Give what is fitted on cells: the trainer around a network, or the model itself."""
    return classifier(job, world, notice, tracker) if job.by_epochs else estimator(job)


def classifier(job: Job, world: World, notice: StopRequest, tracker: Tracker) -> Classifier:
    """Give the trainer around the network of a run."""
    from leadline import training
    from leadline.models.network import TorchModel

    config, labels_C = job.config, job.cells.labels_C
    assert labels_C is not None and isinstance(job.model, TorchModel)
    return training.Classifier(
        job.model,
        setting_of(job, world, notice, tracker),
        metric_labels=config.protocol.metric_labels,
        class_weights=config.protocol.class_weights,
        whole_K=np.bincount(labels_C, minlength=len(job.cells.classes)),
    )


def cannot_be_named(job: Job) -> list[str]:
    """Quote the classes that a network was kept from naming."""
    if not job.by_epochs or job.config.protocol.named_classes == "all":
        return []
    assert job.cells.labels_C is not None
    trained = np.unique(job.cells.labels_C[job.split.train])
    return [repr(name) for k, name in enumerate(job.cells.classes) if k not in trained]


def estimator(job: Job) -> models.Model:
    """Give a model that fits itself."""
    assert isinstance(job.model, models.Model)
    return job.model


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


def afterwards(
    network: Classifier, fit: models.FitResult, job: Job, reported: Cells
) -> models.FitResult:
    """Add what only a fitted network can tell: the effect of batches, positions of all cells."""
    arrays = dict(fit.arrays)
    if job.config.train.save_embeddings:
        arrays["embeddings.npz"] = network.embed(job.cells)
    warnings = [*fit.warnings, *network.effect_of_batches(reported)]
    return replace(fit, arrays=arrays, warnings=warnings)
