"""The settings of each model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from leadline.config.checks import added_later, choice, within
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

    solver: str = "path"
    C: float | None = None
    grid: list[float] = field(default_factory=lambda: [10.0**power for power in range(-3, 5)])
    folds: int = 5
    cv: str = "stratified"
    tolerance: float = 1e-4
    max_iterations: int | None = None
    class_weight: str = "none"
    l1_ratio: float = 1.0
    multinomial: bool = False
    one_vs_rest: str = added_later("auto", "separate")

    def __post_init__(self) -> None:
        ExpressionConfig.__post_init__(self)
        choice("model.solver", self.solver, ("path", "liblinear"))
        choice("model.one_vs_rest", self.one_vs_rest, ("auto", "separate", "one_stream"))
        choice("model.cv", self.cv, ("stratified", "group"))
        choice("model.class_weight", self.class_weight, ("none", "balanced"))
        for name, value in (("C", self.C), *(("grid", value) for value in self.grid)):
            if value is not None:
                within(f"model.{name}", value, 0, math.inf, open_low=True)
        if not self.grid:
            raise UserError(
                "model.grid must hold at least one value of C",
                got="an empty list",
                remedy="write for example model.grid=[0.01,0.1,1]",
            )
        within("model.folds", self.folds, 2, 100)
        within("model.tolerance", self.tolerance, 0, 1, open_low=True)
        within("model.max_iterations", self.max_iterations or 1, 1, 1e9)
        within("model.l1_ratio", self.l1_ratio, 0, 1, open_low=True)
        if self.solver == "liblinear" and (self.l1_ratio != 1 or self.multinomial):
            raise UserError(
                "liblinear solves pure L1, one class against the rest",
                got=f"model.l1_ratio={self.l1_ratio:g} model.multinomial={self.multinomial}",
                remedy="use model.solver=path for these variants",
            )
        if self.one_vs_rest == "one_stream" and self.solver != "liblinear":
            raise UserError(
                "model.one_vs_rest says how liblinear draws; the path draws nothing",
                got=f"model.one_vs_rest=one_stream model.solver={self.solver}",
                remedy="add model.solver=liblinear, or leave it out",
            )


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


@dataclass(slots=True, kw_only=True)
class MlpConfig(ExpressionConfig):
    """A small network on expression; `zscore` scales each gene by the training cells alone."""

    hidden: list[int] = field(default_factory=lambda: [256])
    dropout: float = 0.5
    scaling: str = "zscore"

    def __post_init__(self) -> None:
        ExpressionConfig.__post_init__(self)
        for width in self.hidden:
            within("model.hidden", width, 1, 1e6)
        within("model.dropout", self.dropout, 0, 0.95)
        choice("model.scaling", self.scaling, ("zscore", "none"))
