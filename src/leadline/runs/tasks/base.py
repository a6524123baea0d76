"""What a run does with its cells: the interface of a task, and the prepared run it is given.

The tasks are the rows of `leadline.config.tasks.TASKS`. No other code asks which task a run has.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline import distributed, models
from leadline.config import RunConfig, ScgptConfig
from leadline.config.tasks import TASKS, TaskRow
from leadline.data.cells import Cells
from leadline.data.splits.split import Split, make_split
from leadline.distributed import World
from leadline.errors import UserError
from leadline.processes import StopRequest
from leadline.runs import starting_weights
from leadline.runs.identity import NamedRun, learns_by_epochs
from leadline.runs.record import CheckpointFolder, Predictions, tell
from leadline.runs.tracking import Tracker

if TYPE_CHECKING:
    from leadline.models.base import CellEmbedder
    from leadline.models.gene2vec import GeneEmbedding
    from leadline.training import FitSettings

# Not yet fitted; the task knows who fits it.
Learner: TypeAlias = "models.Model | models.TorchModel | GeneEmbedding | CellEmbedder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, ready to be computed; every rank makes the same from the same configuration.

    `hard` holds the classes that are reported on separately.
    """

    named: NamedRun
    task: Task
    model: Learner
    hard: NDArray[np.int64]

    @property
    def config(self) -> RunConfig:
        """Give the resolved configuration."""
        return self.named.config

    @property
    def cells(self) -> Cells:
        """Give the cells of all parts."""
        return self.named.cells

    @property
    def split(self) -> Split:
        """Give the rows of each part."""
        return self.named.split

    @property
    def run_id(self) -> str:
        """Give the name of the run."""
        return self.named.run_id

    @property
    def folder(self) -> Path:
        """Give the folder of the record."""
        return self.named.folder

    @property
    def by_epochs(self) -> bool:
        """Say whether the trainer fits the model."""
        return learns_by_epochs(self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCells:
    """The cells of a run, by what they are for.

    `held_back` holds the reported cells as `test`, and as `val` the selection cells, unless these
    are the reported ones. No fit may see `held_back["test"]`.
    """

    train: Cells
    selection: Cells | None
    held_back: Mapping[str, Cells]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedRun:
    """What a task gives: its fit, and for each part predictions of labels, or scores, or both."""

    fit: models.FitResult
    parts: Mapping[str, Predictions] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task(ABC):
    """What a run does with its cells; `row` holds the facts that are known without this class."""

    row: TaskRow

    def requires(self, config: RunConfig) -> None:  # noqa: B027
        """Refuse settings that do not go with the task, before any cell is read.

        Raises
        ------
        UserError
            When a setting belongs to another task.
        """

    def requires_of_model(self, model: Learner, config: RunConfig) -> None:  # noqa: B027
        """Refuse a model, made but not fitted, that cannot do what the task needs of it."""

    def split(self, cells: Cells, config: RunConfig) -> Split:
        """Draw the rows of each part, cell by cell; a task with another unit overrides this."""
        if config.data.corpus_fraction != 1:
            raise UserError(
                "data.corpus_fraction belongs to task=pretrain",
                got=f"data.corpus_fraction={config.data.corpus_fraction:g}",
                remedy="say with data.fraction how many training cells carry labels",
            )
        return make_split(
            cells,
            config.protocol,
            seed=config.seed,
            fraction=config.data.fraction,
            label=str(config.data.label),
            min_genes=config.data.min_genes,
            binned_G=binned_by_script(cells, config),
        )

    @abstractmethod
    def fit_and_predict(
        self, job: Job, parts: SplitCells, world: World, notice: StopRequest, tracker: Tracker
    ) -> ComputedRun:
        """Fit on the training cells, then judge on those held back; every rank does the same."""

    def scores(self, job: Job, computed: ComputedRun) -> Mapping[str, Mapping[str, float]]:
        """Give the scores of each part; `test`, the reported cells, is among them."""
        return computed.scores

    def warnings(
        self, job: Job, computed: ComputedRun, scores: Mapping[str, Mapping[str, float]]
    ) -> list[str]:
        """Say what a careful reader must know beside what split and fit warn of."""
        return []

    def log_line(self, scores: Mapping[str, float]) -> str:
        """Write the scores of the reported cells for the last line of the log."""
        return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())


def task_of(config: RunConfig) -> Task:
    """Import and make the task of a run."""
    row = TASKS[config.task]
    module, _, name = row.implementation.partition(":")
    task = getattr(importlib.import_module(module), name)(row)
    assert isinstance(task, Task)
    return task


def binned_by_script(cells: Cells, config: RunConfig) -> NDArray[np.bool_] | None:
    """Mark the genes whose values scGPT's script draws numbers for before it holds cells out.

    None where the hold-out is not the script's, or the model is another.
    """
    if config.protocol.selection != "holdout_scgpt" or not isinstance(config.model, ScgptConfig):
        return None
    from leadline.models.scgpt.tie_stream import binned_genes

    first = starting_weights.weights_sources(config).get("pretrained")
    return binned_genes(cells, config.model, None if first is None else first.path)


def setting_of(job: Job, world: World, notice: StopRequest, tracker: Tracker) -> FitSettings:
    """Tell the trainer all that it must know of a run."""
    from leadline import training

    config = job.config
    return training.FitSettings(
        train=config.train,
        seed=config.seed,
        device=distributed.pick_device(config.train.device, world),
        world=world,
        select_by=config.protocol.select_by,
        order=config.protocol.order,
        vault=CheckpointFolder(job.folder),
        notice=notice,
        tell=lambda text: tell(job.folder, text) if world.leads else None,
        track=tracker.log,
    )
