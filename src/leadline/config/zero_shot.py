"""The settings of task=zero_shot: which cells, which vectors, and how often scores are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.config.checks import choice, within
from leadline.config.tasks import TaskSettings

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
