"""Settings of what gives cells vectors without learning from other data: the zero-shot ladder."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leadline.config.checks import choice, within
from leadline.config.models import ExpressionConfig, ModelConfig

# How variable genes are chosen; `leadline.data.cells.genes` has each.
FLAVOURS = ("seurat", "cell_ranger", "seurat_v3", "variance")


@dataclass(slots=True, kw_only=True)
class NoiseConfig(ModelConfig):
    """Gaussian numbers that know nothing of the cell: what each score gives by chance."""

    width: int = 512

    def __post_init__(self) -> None:
        within("model.width", self.width, 1, 1e6)


@dataclass(slots=True, kw_only=True)
class DepthConfig(ModelConfig):
    """Two numbers a cell: the logarithm of its counts and of its detected genes."""


@dataclass(slots=True, kw_only=True)
class HvgConfig(ExpressionConfig):
    """The log-normalised expression of the genes that vary most, as it is.

    `flavour` says how they are chosen: as one of scanpy's does, or by their variance.
    """

    genes: int = 2000
    flavour: str = "seurat"

    def __post_init__(self) -> None:
        ExpressionConfig.__post_init__(self)
        choice("model.flavour", self.flavour, FLAVOURS)
        within("model.genes", self.genes, 1, 1e7)


@dataclass(slots=True, kw_only=True)
class RandomProjectionConfig(HvgConfig):
    """Variable genes times a Gaussian matrix that is drawn from the seed."""

    width: int = 512

    def __post_init__(self) -> None:
        HvgConfig.__post_init__(self)
        within("model.width", self.width, 1, 1e6)


@dataclass(slots=True, kw_only=True)
class PcaConfig(HvgConfig):
    """Variable genes on the first principal components of these very cells."""

    components: int = 50

    def __post_init__(self) -> None:
        HvgConfig.__post_init__(self)
        within("model.components", self.components, 1, 1e5)


@dataclass(slots=True, kw_only=True)
class HarmonyConfig(PcaConfig):
    """Principal components moved so that batches mix; it is told the batch of each cell."""

    theta: float = 2.0

    def __post_init__(self) -> None:
        PcaConfig.__post_init__(self)
        within("model.theta", self.theta, 0, math.inf)
