"""Every schema of a run's configuration; the only user of Hydra's ConfigStore.

A field that says *how* a run is executed but not *what* it computes (paths, threads, trackers)
is marked `operational`; all other fields are science and enter the run's identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from leadline.errors import UserError, nearest

# OmegaConf's mark for a value that the composition must supply.
TO_BE_COMPOSED: Any = "???"

SCALES = ("auto", "counts", "ln_cp10k", "log2_cp10k", "log_other", "zscored", "other")


def operational(default: Any) -> Any:
    """Declare a field that does not change what a run computes."""
    return field(default=default, metadata={"operational": True})


def choice(key: str, value: str, known: Iterable[str]) -> None:
    """Refuse a word that is not among the known ones."""
    known = tuple(known)
    if value not in known:
        raise UserError(
            f"{key} must be one of {', '.join(known)}",
            got=repr(value),
            remedy=nearest(value, known),
        )


def within(key: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Refuse a number outside [low, high], or (low, high] with `open_low`."""
    above = value > low if open_low else value >= low
    inside = above and value <= high and math.isfinite(value)
    if not inside:
        bracket = "(" if open_low else "["
        top = f"{int(high)}" if float(high).is_integer() else f"{high:g}"
        ends = f"{bracket}{low:g}, {top}{']' if math.isfinite(high) else ')'}"
        raise UserError(
            f"{key} must lie in {ends}", got=f"{value:.15g}", remedy="choose a value inside it"
        )


# --- data -----------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """Which cells, which of their columns mean what, and how many of them carry labels."""

    name: str = ""
    design: str = "own"
    label: str | None = None
    batch: str | None = None
    split: str | None = None
    layer: str | None = None
    scale: str = "auto"
    gene_column: str | None = None
    library_column: str | None = None
    fraction: float = 1.0
    hard_classes: list[str] = field(default_factory=list)
    path: str | None = operational(None)

    def __post_init__(self) -> None:
        choice("data.scale", self.scale, SCALES)
        choice("data.design", self.design, ("pbmc", "scgpt", "own"))
        within("data.fraction", self.fraction, 0, 1, open_low=True)
        if not self.name or not all(letter.isalnum() or letter in "_-." for letter in self.name):
            raise UserError(
                "data.name must consist of letters, digits, '_', '-' and '.'",
                got=repr(self.name),
                remedy="give the dataset a short name: it becomes part of the run's directory",
            )


@dataclass(slots=True, kw_only=True)
class EmbeddedData(DataConfig):
    """A dataset that comes with the package."""


@dataclass(slots=True, kw_only=True)
class FileData(DataConfig):
    """Anybody's file."""


@dataclass(slots=True, kw_only=True)
class PublishedData(DataConfig):
    """A dataset of the paper, from files that the user has fetched into `data_dir`."""


@dataclass(slots=True, kw_only=True)
class ZhengLikeData(DataConfig):
    """Synthetic cells with the size, sparsity and classes of Zheng68K."""

    n_cells: int = 68_450
    n_genes: int = 16_906
    seed: int = 0

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        within("data.n_cells", self.n_cells, 100, 1e8)
        within("data.n_genes", self.n_genes, 50, 1e6)
        within("data.seed", self.seed, 0, 2**32 - 1)


@dataclass(slots=True, kw_only=True)
class MsLikeData(DataConfig):
    """Synthetic reference and shifted query cells with the size of the multiple sclerosis set."""

    n_train: int = 7_844
    n_test: int = 13_468
    n_genes: int = 3_000
    n_classes: int = 18
    seed: int = 0

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        within("data.n_train", self.n_train, 20, 1e8)
        within("data.n_test", self.n_test, 20, 1e8)
        within("data.n_genes", self.n_genes, 50, 1e6)
        within("data.n_classes", self.n_classes, 2, 1000)
        within("data.seed", self.seed, 0, 2**32 - 1)


# --- models ---------------------------------------------------------------------------------


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


# --- train, protocol, tracker ---------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class TrainConfig:
    """How a model is fitted; `threads=0` takes every core."""

    threads: int = operational(0)

    def __post_init__(self) -> None:
        within("train.threads", self.threads, 0, 1024)


PROTOCOL_CHOICES = {
    "reported": ("auto", "given", "stratified", "group"),
    "selection": ("published", "reported", "holdout", "holdout_stratified", "none"),
    "fewshot": ("published", "random", "random_stream", "stratified", "stratified_nested"),
    "baseline_cells": ("labelled", "train"),
    "regularisation": ("published", "cross_validated"),
    "metric_labels": ("observed", "truth", "all"),
    "unseen_classes": ("keep", "refuse"),
    "rare_classes": ("refuse", "drop"),
    "duplicates": ("warn", "drop", "refuse"),
}


@dataclass(slots=True, kw_only=True)
class ProtocolConfig:
    """The switches of the protocol; `docs/protocols.md` says what each value does and whose it is.

    `published` stands for what the paper's code does for this dataset and model.
    """

    name: str = operational("")
    reported: str = "auto"
    test_fraction: float = 0.2
    split_seed: int = 2022
    selection: str = "holdout_stratified"
    selection_fraction: float = 0.1
    fewshot: str = "stratified_nested"
    baseline_cells: str = "labelled"
    regularisation: str = "cross_validated"
    metric_labels: str = "truth"
    unseen_classes: str = "refuse"
    rare_classes: str = "refuse"
    duplicates: str = "drop"

    def __post_init__(self) -> None:
        for key, known in PROTOCOL_CHOICES.items():
            choice(f"protocol.{key}", getattr(self, key), known)
        within("protocol.test_fraction", self.test_fraction, 0, 0.95, open_low=True)
        within("protocol.selection_fraction", self.selection_fraction, 0, 0.95, open_low=True)
        within("protocol.split_seed", self.split_seed, 0, 2**32 - 1)


@dataclass(slots=True, kw_only=True)
class TrackerConfig:
    """Who else is told about a run; the plain one tells nobody."""

    name: str = ""


@dataclass(slots=True, kw_only=True)
class CsvTrackerConfig(TrackerConfig):
    """Appends the numbers of every run to one table."""

    path: str = "runs.csv"


@dataclass(slots=True, kw_only=True)
class RunConfig:
    """One run: which cells, which model, how it is fitted, and under which protocol."""

    data: DataConfig = TO_BE_COMPOSED
    model: ModelConfig = TO_BE_COMPOSED
    train: TrainConfig = TO_BE_COMPOSED
    protocol: ProtocolConfig = TO_BE_COMPOSED
    tracker: TrackerConfig = operational(TO_BE_COMPOSED)
    seed: int = 1
    runs_dir: str = operational("runs")
    data_dir: str = operational("")

    def __post_init__(self) -> None:
        within("seed", self.seed, 0, 2**32 - 1)


# Option name in conf/<group>/ → the schema that its YAML file starts from.
SCHEMAS: dict[str, dict[str, type]] = {
    "data": {
        "embedded": EmbeddedData,
        "file": FileData,
        "published": PublishedData,
        "zheng_like": ZhengLikeData,
        "ms_like": MsLikeData,
    },
    "model": {
        "logreg": LogregConfig,
        "majority": MajorityConfig,
        "stratified": StratifiedConfig,
        "nearest_centroid": NearestCentroidConfig,
        "knn_pca": KnnPcaConfig,
    },
    "train": {"train": TrainConfig},
    "protocol": {"protocol": ProtocolConfig},
    "tracker": {"tracker": TrackerConfig, "csv": CsvTrackerConfig},
}


def science(config: Any) -> Any:
    """Give the part of a configuration that decides what is computed, as plain values."""
    if is_dataclass(config):
        return {
            item.name: science(getattr(config, item.name))
            for item in fields(config)
            if not item.metadata.get("operational")
        }
    return list(config) if isinstance(config, list | tuple) else config
