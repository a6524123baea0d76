"""The settings of scGPT."""

from __future__ import annotations

from dataclasses import dataclass, field

from leadline.config.checks import added_later, choice, operational, within
from leadline.config.models import ModelConfig
from leadline.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScgptSize:
    """Sizes that go together."""

    width: int
    heads: int
    layers: int
    hidden: int
    dropout: float = 0.2
    attention_dropout: float = 0.2
    max_length: int = 3001


# paper: the released human model. tiny: a fit in seconds on one core of a CPU, where dropout of
# attention weights alone would cost as much as all the rest.
SCGPT_SIZES = {
    "tiny": ScgptSize(width=32, heads=1, layers=2, hidden=32, dropout=0.1, attention_dropout=0.0),
    "small": ScgptSize(width=128, heads=4, layers=4, hidden=128),
    "paper": ScgptSize(width=512, heads=8, layers=12, hidden=512),
}


@dataclass(slots=True, kw_only=True)
class ScgptConfig(ModelConfig):
    """scGPT; `docs/scgpt.md` tells what each setting does. `null` leaves it to `size`."""

    size: str = "paper"
    width: int | None = None
    heads: int | None = None
    layers: int | None = None
    hidden: int | None = None
    classifier_layers: int = 3
    dropout: float | None = None
    attention_dropout: float | None = None
    pre_norm: bool = False
    attention_start: str = added_later("auto", "xavier")
    pretrained: str = "false"
    allow_missing: list[str] = field(default_factory=list)
    vocabulary: str = "data"
    min_coverage: float = 0.5
    bins: int = 51
    ties: str = "auto"
    tokens: str = "nonzero"
    max_length: int | None = None
    batch_labels: bool = False
    domain_norm: bool = False
    mask_share: float = 0.4
    generative: bool = False
    attention: str = operational("sdpa")
    # Filled in from data_dir; where files lie makes no other model.
    folder: str = field(default="", compare=False, metadata={"operational": True})

    def __post_init__(self) -> None:
        choice("model.size", self.size, SCGPT_SIZES)
        choice("model.ties", self.ties, ("auto", "middle", "random"))
        choice("model.attention_start", self.attention_start, ("auto", "xavier", "linear"))
        choice("model.tokens", self.tokens, ("nonzero", "all"))
        choice("model.attention", self.attention, ("sdpa", "flash", "math"))
        for name in ("width", "heads", "layers", "hidden"):
            within(f"model.{name}", self.of_size(name), 1, 100_000)
        for name in ("dropout", "attention_dropout"):
            within(f"model.{name}", self.of_size(name), 0, 0.95)
        within("model.max_length", self.of_size("max_length"), 2, 1_000_000)
        within("model.classifier_layers", self.classifier_layers, 1, 100)
        within("model.bins", self.bins, 3, 255)
        within("model.min_coverage", self.min_coverage, 0, 1)
        within("model.mask_share", self.mask_share, 0, 1, open_low=True)
        if self.of_size("width") % self.of_size("heads"):
            raise UserError(
                "model.width must be a multiple of model.heads",
                got=f"{self.of_size('width')} and {self.of_size('heads')}",
                remedy="change one of them",
            )

    def of_size(self, name: str) -> float:
        """Give a setting, or what `size` says of it."""
        own = getattr(self, name)
        return getattr(SCGPT_SIZES[self.size], name) if own is None else own
