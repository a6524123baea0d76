"""Settings of what others made: their models, and their positions of cells."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline.config.checks import choice, operational, within
from leadline.config.models import ModelConfig
from leadline.errors import UserError


def require_options(options: Any) -> None:
    """Refuse what cannot be handed over by name, or be part of a run's id."""
    if options is None:
        return
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise UserError(
            "model.options holds arguments of the constructor by name",
            got=repr(options),
            remedy="write for example model.options={depth: 3}, quoted in a shell",
        )
    try:
        # As the id of the run and its record will need it.
        json.dumps(options, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            "model.options holds what JSON can: finite numbers, keys of one kind in a mapping",
            got=repr(options),
            remedy="give the others as text",
        ) from error


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
        require_options(self.options)


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


@dataclass(slots=True, kw_only=True)
class ExternalConfig(ModelConfig):
    """A program with an environment of its own, a worker, which leadline asks through files.

    `source` is the digest of the worker and of its lock file, filled in when settings are read:
    another worker, another run. Where it lies, and by which interpreter it runs, is no science.
    """

    worker: str | None = operational(None)
    python: str | None = operational(None)
    command: list[str] | None = operational(None)
    source: str | None = None
    answer: str = "embed"
    probe: str = "logreg"
    input: str = "counts"
    pretrained: bool = True
    options: Any = None
    time_limit: float = operational(3600.0)

    def __post_init__(self) -> None:
        choice("model.answer", self.answer, ("embed", "fit_predict"))
        choice("model.probe", self.probe, ("logreg", "knn"))
        choice("model.input", self.input, ("counts", "as_given", "ln_cp10k", "log2_cp10k"))
        within("model.time_limit", self.time_limit, 0, 1e7, open_low=True)
        require_options(self.options)
        if self.command is not None and self.python is not None:
            raise UserError(
                "a worker is started in one way",
                got="both model.python and model.command",
                remedy="leave one of them out",
            )
        if self.worker is None and self.command is not None:
            scripts = [word for word in self.command if word.endswith(".py")]
            self.worker = scripts[-1] if scripts else None
        if self.worker is None and self.command is None:
            return
        if self.source is None:
            self.source = digest_of_worker(self.worker, self.command)
        if self.name == "external" and self.worker is not None:
            self.name = Path(self.worker).stem


def digest_of_worker(worker: str | None, command: Sequence[str] | None) -> str:
    """Digest a worker's file and its lock file; of a command without a file, the words."""
    digest = hashlib.sha256()
    if worker is None:
        digest.update("\x1f".join(command or ()).encode())
        return f"sha256:{digest.hexdigest()}"
    path = Path(worker).expanduser()
    if not path.is_file():
        raise UserError(
            "model.worker must be a file",
            got=repr(worker),
            remedy="write one with `leadline worker new NAME`",
        )
    digest.update(path.read_bytes())
    # As `uv lock --script` names it.
    lock = path.with_name(f"{path.name}.lock")
    if lock.is_file():
        digest.update(b"\x1e" + lock.read_bytes())
    return f"sha256:{digest.hexdigest()}"
