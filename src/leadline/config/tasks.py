"""The tasks that a run can have: one row each, with what must be known before its code is loaded.

To add a task, write a class that extends `leadline.runs.tasks.base.Task` and give it a row here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from leadline.config.checks import choice, within

# What a task leaves behind for others: predicted labels, weights to start from, or other arrays.
PREDICTIONS, WEIGHTS, ARRAYS = "predictions", "weights", "arrays"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task.

    Attributes
    ----------
    implementation
        `module:Class`, imported when a run of the task is prepared.
    product
        What its record is kept for: `predictions`, `weights` or `arrays`.
    main_score
        The score of the reported cells that a table shows when it has room for one.
    reads_labels
        Whether it learns from the labels of cells.
    trains_on_unlabelled
        Whether cells without a label are training cells as well.
    run_id_word
        Follows the model's name in run ids and in names of arms; empty for classification.
    unread_protocol
        Settings of the protocol that it never reads, and that therefore decide no run id.
    published_selection
        What protocol.selection=published means for it, where that depends on the task and not
        on the model.
    published_order
        The same of protocol.order=published.
    settings
        `module:Class` of the task's own settings, `task_settings.*`, whose values stand in
        `conf/task_settings/<task>.yaml`; empty for a task without any.
    trains
        Whether networks are trained: if not, nothing of `train` but `amp` decides a run's id.
    page
        `module:function` that says what a page tells of its runs, where they name no cells.
    reports_seen_cells
        Whether it may report on cells that the starting weights have seen; it warns of them.
    """

    implementation: str
    product: str
    main_score: str
    reads_labels: bool = True
    trains_on_unlabelled: bool = False
    run_id_word: str = ""
    unread_protocol: tuple[str, ...] = ()
    published_selection: str | None = None
    published_order: str | None = None
    settings: str = ""
    trains: bool = True
    reports_seen_cells: bool = False
    page: str = ""


TASKS: dict[str, TaskRow] = {
    "classify": TaskRow(
        implementation="leadline.runs.tasks.classify:Classify",
        product=PREDICTIONS,
        main_score="accuracy",
    ),
    "pretrain": TaskRow(
        implementation="leadline.runs.tasks.pretrain:Pretrain",
        product=WEIGHTS,
        main_score="masking_accuracy",
        reads_labels=False,
        trains_on_unlabelled=True,
        run_id_word="pretrain",
        unread_protocol=("class_weights", "metric_labels", "named_classes"),
        # The paper takes a checkpoint by the number of its epoch: the last one.
        published_selection="none",
        # Its script draws each cell anew from all of them (D39).
        published_order="replacement",
    ),
    "zero_shot": TaskRow(
        implementation="leadline.runs.tasks.zero_shot:ZeroShot",
        product=ARRAYS,
        main_score="avg_bio_oracle",
        reads_labels=False,
        run_id_word="zero_shot",
        # Of the protocol it reads the seed of the draw, and nothing else.
        unread_protocol=(
            *("reported", "test_fraction", "selection", "selection_fraction", "fewshot"),
            *("baseline_cells", "regularisation", "select_by", "class_weights", "order"),
            *("metric_labels", "unseen_classes", "rare_classes", "duplicates"),
            *("named_classes", "folds", "fold"),
        ),
        settings="leadline.config.tasks:ZeroShotSettings",
        trains=False,
        reports_seen_cells=True,
        page="leadline.report.zero_shot:part_of",
    ),
    "perturbation": TaskRow(
        implementation="leadline.runs.tasks.perturbation:Perturbation",
        product=ARRAYS,
        main_score="l2",
        reads_labels=False,
        run_id_word="perturbation",
        # Folds are over perturbations, and settings of the task.
        unread_protocol=(
            *("split_seed", "reported", "test_fraction", "selection", "selection_fraction"),
            *("fewshot", "baseline_cells", "regularisation", "select_by", "class_weights"),
            *("order", "metric_labels", "unseen_classes", "rare_classes", "duplicates"),
            *("named_classes", "folds", "fold"),
        ),
        settings="leadline.config.perturbation:PerturbationSettings",
        trains=False,
        reports_seen_cells=True,
        page="leadline.report.perturbation:part_of",
    ),
}


@dataclass(slots=True, kw_only=True)
class TaskSettings:
    """The settings that a task has of its own; each such task extends this."""


class SettingsSchemas(Mapping[str, type]):
    """Name of a task with settings of its own → their class, imported when it is asked for."""

    def __getitem__(self, name: str) -> type:
        """Import the class."""
        module, _, kind = TASKS[name].settings.partition(":")
        found: type = getattr(importlib.import_module(module), kind)
        return found

    def __iter__(self) -> Iterator[str]:
        """List the names."""
        return (name for name, row in TASKS.items() if row.settings)

    def __len__(self) -> int:
        """Count the tasks."""
        return len(list(iter(self)))


def with_settings(task: str, words: Sequence[str]) -> list[str]:
    """Add the word that chooses the task's own settings, if it has any and none is there."""
    row = TASKS.get(task)
    if row is None or not row.settings or any(w.startswith("task_settings=") for w in words):
        return list(words)
    return [*words, f"task_settings={task}"]


ZERO_SHOT_CHOICES = {
    "vectors": ("cells", "bag_of_genes"),
    "normalise": ("none", "l2"),
    "folds": ("stratified", "batch"),
}


@dataclass(slots=True, kw_only=True)
class ZeroShotSettings(TaskSettings):
    """How frozen vectors are made and judged; docs/zero_shot.md tells what each setting does."""

    cells: int = 20_000
    vectors: str = "cells"
    normalise: str = "none"
    folds: str = "stratified"
    clusterings: int = 5
    half_samples: int = 20
    reconstruction_cells: int = 1000

    def __post_init__(self) -> None:
        for key, known in ZERO_SHOT_CHOICES.items():
            choice(f"task_settings.{key}", getattr(self, key), known)
        within("task_settings.cells", self.cells, 20, 1e7)
        within("task_settings.clusterings", self.clusterings, 1, 100)
        within("task_settings.half_samples", self.half_samples, 2, 1000)
        within("task_settings.reconstruction_cells", self.reconstruction_cells, 0, 1e6)
