"""The settings of scBERT."""

from __future__ import annotations

from dataclasses import dataclass, field

from leadline.config.checks import added_later, choice, operational, within
from leadline.config.models import ModelConfig
from leadline.errors import UserError


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScbertSize:
    """Sizes that go together; `hidden` are the two layers of the fine-tuning head."""

    depth: int
    width: int
    heads: int
    head_width: int
    hidden: tuple[int, int]


# paper: the released model. tiny: a fit in seconds on one core of a CPU.
SCBERT_SIZES = {
    "tiny": ScbertSize(depth=1, width=16, heads=2, head_width=8, hidden=(64, 32)),
    "small": ScbertSize(depth=3, width=96, heads=4, head_width=32, hidden=(256, 64)),
    "paper": ScbertSize(depth=6, width=200, heads=10, head_width=64, hidden=(512, 128)),
}


@dataclass(slots=True, kw_only=True)
class ScbertConfig(BinnedConfig):
    """scBERT; `docs/scbert.md` tells what each setting does. `null` leaves it to `size`.

    `gene2vec` is false, built, random, published, a run's id or a file; `pretrained` is false,
    published, a run's id or a file.
    """

    size: str = "paper"
    depth: int | None = None
    width: int | None = None
    heads: int | None = None
    head_width: int | None = None
    hidden: list[int] | None = None
    gene2vec: str = "built"
    pretrained: str = "false"
    allow_missing: list[str] = field(default_factory=list)
    stabiliser: str = "auto"
    redraw_every: int | None = None
    backend: str = operational("auto")
    trunk_gib: float = added_later(8.0, is_operational=True)

    def __post_init__(self) -> None:
        BinnedConfig.__post_init__(self)
        choice("model.size", self.size, SCBERT_SIZES)
        choice("model.stabiliser", self.stabiliser, ("auto", "head", "batch"))
        choice("model.backend", self.backend, ("auto", "exact", "compiled", "performer"))
        # YAML and the command line turn the word into a truth value, and that into "False".
        for name in ("gene2vec", "pretrained"):
            if getattr(self, name).lower() == "false":
                setattr(self, name, "false")
        size = SCBERT_SIZES[self.size]
        for name, low in {"depth": 1, "width": 1, "heads": 1, "head_width": 2}.items():
            if getattr(self, name) is None:
                setattr(self, name, getattr(size, name))
            within(f"model.{name}", getattr(self, name), low, 100_000)
        self.hidden = list(size.hidden) if self.hidden is None else self.hidden
        for width in self.hidden:
            within("model.hidden", width, 1, 1e6)
        if len(self.hidden) != 2:
            raise UserError(
                "model.hidden must give the two hidden layers of the head",
                got=f"{len(self.hidden)} widths",
                remedy="write for example model.hidden=[512,128]",
            )
        within("model.redraw_every", self.redraw_every or 0, 0, 1e9)
        within("model.trunk_gib", self.trunk_gib, 0, 1e6)
