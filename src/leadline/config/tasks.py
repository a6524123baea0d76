"""The tasks that a run can have: one row each, with what must be known before its code is loaded.

To add a task, write a class that extends `leadline.runs.tasks.base.Task` and give it a row here.
"""

from __future__ import annotations

from dataclasses import dataclass

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
}
