"""The switches of the protocol."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.config.checks import added_later, choice, operational, within
from leadline.errors import UserError

PROTOCOL_CHOICES = {
    "reported": ("auto", "given", "stratified", "group"),
    "selection": (
        "published",
        "reported",
        "holdout_scgpt",
        "holdout",
        "holdout_stratified",
        "none",
    ),
    "fewshot": ("published", "random", "random_stream", "stratified", "stratified_nested"),
    "baseline_cells": ("labelled", "train"),
    "regularisation": ("published", "cross_validated"),
    "select_by": ("published", "accuracy", "loss", "macro_f1"),
    "class_weights": ("published", "none", "train", "whole"),
    "order": ("published", "shuffled", "fixed", "replacement"),
    "named_classes": ("published", "trained", "all"),
    "stabiliser": ("published", "head", "batch"),
    "one_vs_rest": ("published", "separate", "one_stream"),
    "ties": ("published", "middle", "random"),
    "attention_start": ("published", "xavier", "linear"),
    "metric_labels": ("observed", "truth", "all"),
    "unseen_classes": ("keep", "refuse"),
    "rare_classes": ("refuse", "drop"),
    "duplicates": ("warn", "drop", "refuse"),
}

TEST_FRACTION = 0.2

# What only models that learn by epochs read.
TRAINING_SWITCHES = ("select_by", "class_weights", "order", "named_classes")
# What one model reads as its own setting of that name, unless the setting says it itself.
MODEL_SWITCHES = ("stabiliser", "one_vs_rest", "ties", "attention_start")


@dataclass(slots=True, kw_only=True)
class ProtocolConfig:
    """The switches of the protocol; `docs/protocols.md` says what each value does and whose it is.

    `published` stands for what the paper's code does for this dataset and model.
    """

    name: str = operational("")
    reported: str = "auto"
    test_fraction: float = TEST_FRACTION
    split_seed: int = 2022
    selection: str = "holdout_stratified"
    selection_fraction: float = 0.1
    fewshot: str = "stratified_nested"
    baseline_cells: str = "labelled"
    regularisation: str = "cross_validated"
    select_by: str = "accuracy"
    class_weights: str = "none"
    order: str = "shuffled"
    named_classes: str = added_later("trained")
    # Science only for the model that has such a setting, where it becomes part of the model.
    stabiliser: str = operational("head")
    one_vs_rest: str = added_later("separate", is_operational=True)
    ties: str = added_later("middle", is_operational=True)
    attention_start: str = added_later("xavier", is_operational=True)
    metric_labels: str = "truth"
    unseen_classes: str = "refuse"
    rare_classes: str = "refuse"
    duplicates: str = "drop"
    # Every cell is reported once, in so many folds; a run reports on one of them, counted from 1.
    folds: int | None = added_later(None)
    fold: int | None = added_later(None)

    def __post_init__(self) -> None:
        for key, known in PROTOCOL_CHOICES.items():
            choice(f"protocol.{key}", getattr(self, key), known)
        within("protocol.test_fraction", self.test_fraction, 0, 0.95, open_low=True)
        within("protocol.selection_fraction", self.selection_fraction, 0, 0.95, open_low=True)
        within("protocol.split_seed", self.split_seed, 0, 2**32 - 1)
        if self.folds is not None:
            within("protocol.folds", self.folds, 2, 100)
        if self.fold is not None:
            if self.folds is None:
                raise UserError(
                    "protocol.fold is one of protocol.folds",
                    got=f"protocol.fold={self.fold} and no protocol.folds",
                    remedy="add protocol.folds=5, or leave protocol.fold out",
                )
            within("protocol.fold", self.fold, 1, self.folds)
