"""Settings of what others made: their models, and their positions of cells."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from leadline.config.checks import choice, operational, within
from leadline.config.models import ModelConfig
from leadline.errors import UserError


@dataclass(slots=True, kw_only=True)
class PythonConfig(ModelConfig):
    """Anybody's class; `leadline run model=python:module.Class` fills in `target` and `source`.

    `source` is the digest of the file that holds the class: another file, another run.
    """

    target: str | None = None
    source: str | None = None
    input: str = "as_given"
    dense: bool = True
    pretrained: bool = True
    options: Any = None

    def __post_init__(self) -> None:
        choice("model.input", self.input, ("as_given", "ln_cp10k", "log2_cp10k", "counts"))
        if self.options is None:
            return
        if not isinstance(self.options, dict) or not all(
            isinstance(key, str) for key in self.options
        ):
            raise UserError(
                "model.options holds arguments of the constructor by name",
                got=repr(self.options),
                remedy="write for example model.options={depth: 3}, quoted in a shell",
            )
        try:
            # As the id of the run and its record will need it.
            json.dumps(self.options, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                "model.options holds what JSON can: finite numbers, keys of one kind in a mapping",
                got=repr(self.options),
                remedy="give the others as text",
            ) from error


@dataclass(slots=True, kw_only=True)
class EmbeddingConfig(ModelConfig):
    """A probe on positions that another program gave the cells.

    They come from obsm of the cells' own file (`key`) or from an .npz (`file`); `digest` is that
    of the positions, filled in when they are read.
    """

    key: str | None = None
    file: str | None = operational(None)
    digest: str | None = None
    probe: str = "logreg"
    standardise: bool = True
    C: float | None = None
    neighbours: int = 15

    def __post_init__(self) -> None:
        choice("model.probe", self.probe, ("logreg", "knn"))
        within("model.neighbours", self.neighbours, 1, 10_000)
        if self.C is not None:
            within("model.C", self.C, 0, math.inf, open_low=True)
        if self.key is not None and self.file is not None:
            raise UserError(
                "positions of cells come from one place",
                got="both model.key and model.file",
                remedy="leave one of them out",
            )


@dataclass(slots=True, kw_only=True)
class GeneVectorsConfig(ModelConfig):
    """Vectors of genes that another program made, or a gene2vec run of leadline.

    `vectors` names an .npz with the arrays `genes` and `vectors`, an .npy with a row for each name
    of `genes`, `published` gene2vec, or a run of model=gene2vec. `genes` is `own` where the names
    come with the vectors, else a list of names or `published`.
    """

    vectors: str = ""
    genes: str = "own"
