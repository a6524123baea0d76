"""The settings of task=perturbation: which responses, which vectors of genes, which head."""

from __future__ import annotations

from dataclasses import dataclass, field

from leadline.config.checks import choice, within
from leadline.config.tasks import TaskSettings
from leadline.errors import UserError

PERTURBATION_CHOICES = {
    "response": ("matched", "unmatched", "pooled"),
    "vectors": ("outputs", "table"),
    "head": ("knn", "lasso"),
}


@dataclass(slots=True, kw_only=True)
class PerturbationSettings(TaskSettings):
    """How knock-outs become responses and are predicted; docs/perturbation.md tells each setting.

    An empty `grid` is that of the publication for so many perturbations.
    """

    control: str = "auto"
    separator: str = "+"
    response: str = "matched"
    genes: int | None = None
    min_cells: int = 10
    vectors: str = "outputs"
    shuffled: bool = False
    control_cells: int = 2000
    head: str = "knn"
    components: int = 100
    grid: list[float] = field(default_factory=list)
    folds: int = 5
    fold_seed: int = 1
    repeats: int = 4
    draws: int = 10
    splits: int = 20

    def __post_init__(self) -> None:
        for key, known in PERTURBATION_CHOICES.items():
            choice(f"task_settings.{key}", getattr(self, key), known)
        if self.genes is not None:
            within("task_settings.genes", self.genes, 2, 1e7)
        within("task_settings.min_cells", self.min_cells, 2, 1e6)
        within("task_settings.control_cells", self.control_cells, 2, 1e7)
        within("task_settings.components", self.components, 1, 1e5)
        within("task_settings.folds", self.folds, 2, 100)
        within("task_settings.fold_seed", self.fold_seed, 0, 2**32 - 100)
        within("task_settings.repeats", self.repeats, 1, 50)
        within("task_settings.draws", self.draws, 2, 1000)
        within("task_settings.splits", self.splits, 2, 1000)
        wrong = [value for value in self.grid if not value > 0]
        if self.head == "knn":
            wrong += [value for value in self.grid if value != int(value)]
        if wrong:
            what = "whole numbers of neighbours" if self.head == "knn" else "positive α"
            raise UserError(
                f"task_settings.grid of head={self.head} holds {what}",
                got=f"{wrong[0]:g}",
                remedy="write for example task_settings.grid=[5,10,20], or leave it out",
            )
