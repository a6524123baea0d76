"""Which cells a run works on."""

from __future__ import annotations

from dataclasses import dataclass, field

from leadline.config.checks import added_later, choice, operational, within
from leadline.errors import UserError

SCALES = ("auto", "counts", "ln_cp10k", "log2_cp10k", "log_other", "zscored", "other")


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
    min_genes: int = 0
    variable_genes: int | None = field(default=None, metadata={"silent_at": (None,)})
    fraction: float = 1.0
    corpus_fraction: float = added_later(1.0)
    hard_classes: list[str] = field(default_factory=list)
    path: str | None = operational(None)

    def __post_init__(self) -> None:
        choice("data.scale", self.scale, SCALES)
        choice("data.design", self.design, ("pbmc", "scgpt", "own"))
        within("data.min_genes", self.min_genes, 0, 1e6)
        if self.variable_genes is not None:
            within("data.variable_genes", self.variable_genes, 2, 1e7)
        within("data.fraction", self.fraction, 0, 1, open_low=True)
        within("data.corpus_fraction", self.corpus_fraction, 0, 1, open_low=True)
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
class StoreData(DataConfig):
    """A token store that `leadline store build` wrote."""


@dataclass(slots=True, kw_only=True)
class PublishedData(DataConfig):
    """A dataset of the paper, from files that the user has fetched into `data_dir`.

    The genes of a test file go by their `own` names, or by the `training` file's, place by place.
    """

    test_genes: str = added_later("own")

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        choice("data.test_genes", self.test_genes, ("own", "training"))


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
