"""What models read that bin expression as scBERT does, and the embedding of genes."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.config.checks import choice, within
from leadline.config.models import ModelConfig


@dataclass(slots=True, kw_only=True)
class BinnedConfig(ModelConfig):
    """A model that reads scBERT's tokens.

    `genes` is `own`, `published`, or a text file with one name a line, in whose order tokens
    stand; `total` is what counts are divided by: all of a cell's, or those of these genes.
    """

    genes: str = "own"
    least_overlap: float = 0.5
    total: str = "measured"

    def __post_init__(self) -> None:
        within("model.least_overlap", self.least_overlap, 0, 1)
        choice("model.total", self.total, ("measured", "reference"))


@dataclass(slots=True, kw_only=True)
class Gene2vecConfig(BinnedConfig):
    """An embedding of genes from their co-expression; only for task=pretrain."""

    width: int = 200
    method: str = "ppmi"

    def __post_init__(self) -> None:
        BinnedConfig.__post_init__(self)
        within("model.width", self.width, 1, 100_000)
        choice("model.method", self.method, ("ppmi", "correlation"))
