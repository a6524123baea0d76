"""The settings of each model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from leadline.config.checks import choice, within
from leadline.errors import UserError


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    """What every model has."""

    name: str = ""


@dataclass(slots=True, kw_only=True)
class ExpressionConfig(ModelConfig):
    """A model that reads log-normalised expression, on the scale that `input` names.

    `as_given` reads a log scale as it comes and turns counts into ln(1 + CP10k).
    """

    input: str = "as_given"

    def __post_init__(self) -> None:
        choice("model.input", self.input, ("as_given", "ln_cp10k", "log2_cp10k"))


@dataclass(slots=True, kw_only=True)
class LogregConfig(ExpressionConfig):
    """L1 logistic regression, one class against the rest; `C=null` means cross-validation."""

    C: float | None = None
    grid: list[float] = field(default_factory=lambda: [10.0**power for power in range(-3, 5)])
    folds: int = 5
    tolerance: float = 1e-4
    max_iterations: int = 100
    class_weight: str = "none"

    def __post_init__(self) -> None:
        ExpressionConfig.__post_init__(self)
        if self.C is not None:
            within("model.C", self.C, 0, math.inf, open_low=True)
        if not self.grid:
            raise UserError(
                "model.grid must hold at least one value of C",
                got="an empty list",
                remedy="write for example model.grid=[0.01,0.1,1]",
            )
        for value in self.grid:
            within("model.grid", value, 0, math.inf, open_low=True)
        within("model.folds", self.folds, 2, 100)
        within("model.tolerance", self.tolerance, 0, 1, open_low=True)
        within("model.max_iterations", self.max_iterations, 1, 1e9)
        choice("model.class_weight", self.class_weight, ("none", "balanced"))


@dataclass(slots=True, kw_only=True)
class MajorityConfig(ModelConfig):
    """Predicts the most common class of the training cells, whatever the cell."""


@dataclass(slots=True, kw_only=True)
class StratifiedConfig(ModelConfig):
    """Draws each prediction from the class frequencies of the training cells."""


@dataclass(slots=True, kw_only=True)
class NearestCentroidConfig(ExpressionConfig):
    """Predicts the class whose mean expression is closest."""


@dataclass(slots=True, kw_only=True)
class KnnPcaConfig(ExpressionConfig):
    """Votes among the nearest training cells in the space of their principal components."""

    components: int = 50
    neighbours: int = 15

    def __post_init__(self) -> None:
        ExpressionConfig.__post_init__(self)
        within("model.components", self.components, 1, 10_000)
        within("model.neighbours", self.neighbours, 1, 10_000)
