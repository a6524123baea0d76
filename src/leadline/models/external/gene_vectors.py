"""Vectors of genes from a file: an .npz with names, or an .npy beside a list of names.

Shapes: G genes, D dimensions.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config.external import GeneVectorsConfig
from leadline.data.cells import Cells, Scale
from leadline.errors import UserError
from leadline.models.base import GeneVectors
from leadline.models.gene2vec import GENES_FILE
from leadline.models.scbert.tokens import read_genes

REMEDY = "in Python: numpy.savez('vectors.npz', genes=names, vectors=matrix)"


class VectorsFromFile:
    """Reads vectors that another program, or a run of model=gene2vec, made; no cell is seen."""

    accepts = frozenset(Scale)

    def __init__(self, config: GeneVectorsConfig) -> None:
        self.config = config

    def embed_genes(self, control: Cells) -> GeneVectors:
        """Give what the file holds; rows with a missing number are genes without a vector."""
        genes, vectors_GD = read_vectors(Path(self.config.vectors), self.config.genes)
        return GeneVectors(genes=genes, vectors_GD=vectors_GD)


def read_vectors(path: Path, names: str = "own") -> tuple[list[str], NDArray[np.float64]]:
    """Read names and vectors; names that stand twice, and rows without names, are refused."""
    rule = f"{path.name} must hold a row of numbers for each named gene"
    try:
        held = np.load(path, allow_pickle=False)
        stored = {name: held[name] for name in held.files} if hasattr(held, "files") else held
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(rule, got=f"{path} ({error})", remedy=REMEDY) from error
    if isinstance(stored, dict) and names == "own":
        if not {"genes", "vectors"} <= set(stored):
            found = ", ".join(sorted(stored)) or "nothing"
            raise UserError(rule, got=f"an .npz with {found}", remedy=REMEDY)
        genes, vectors = stored["genes"].astype(str).tolist(), stored["vectors"]
    else:
        vectors = stored.get("vectors") if isinstance(stored, dict) else stored
        listed = path.with_name(GENES_FILE) if names == "own" else Path(names)
        if names == "own" and not listed.is_file():
            raise UserError(
                "an .npy of vectors needs the names of its genes",
                got=f"{path.name} without any",
                remedy="name a list with model.genes=, or save names and vectors in one .npz",
            )
        genes = read_genes(listed).tolist()
    return genes, checked(genes, vectors, rule)


def checked(genes: list[str], vectors: Any, rule: str) -> NDArray[np.float64]:
    """Give vectors in double precision, or say what is wrong with them."""
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or len(array) != len(genes):
        got = f"shape {array.shape} of {array.dtype} for {len(genes):,} names"
        raise UserError(rule, got=got, remedy=REMEDY)
    if len(set(genes)) < len(genes):
        twice = next(name for name in genes if genes.count(name) > 1)
        raise UserError(
            f"{rule.split(' must')[0]} must name each gene once",
            got=f"{twice} more than once",
            remedy="average the rows of a gene, or keep one",
        )
    if np.isinf(array).any():
        raise UserError(rule, got="infinity", remedy="leave such genes out")
    return array.astype(np.float64)
