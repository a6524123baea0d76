"""The tokens of large data, kept on disk and shared by all processes of a machine.

Small data is not kept: up to a few million values, tokens are made in less time than it takes to
find them. What is saved for large data is above all memory: the ranks of a machine map one copy.

Legend: C cells, G genes, L positions, N stored values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data import store
from leadline.data.cells import Cells
from leadline.models.scbert import tokens
from leadline.models.scgpt import tokens as scgpt

# To be raised with every change of what tokens are.
VERSION = 1
LEAST_VALUES = 5_000_000


def scbert_tokens(
    folder: Path | None,
    cells: Cells,
    reference: NDArray[np.str_] | None = None,
    *,
    least_overlap: float = 0.5,
    total: str = "measured",
) -> tokens.Tokens:
    """Give `scbert.tokenise` of the same arguments, kept in `folder` if there is one."""

    def made() -> tokens.Tokens:
        return tokens.tokenise(cells, reference, least_overlap=least_overlap, total=total)

    matrix_CG = cells.matrix_CG
    if folder is None or matrix_CG.nnz < LEAST_VALUES:
        return made()
    words = [
        str(cells.scale),
        total,
        *cells.genes,
        "\x1e",
        *(() if reference is None else reference),
    ]
    content = digest(words, matrix_CG.data, matrix_CG.indices, matrix_CG.indptr, cells.library_C)

    def make() -> dict[str, NDArray[Any]]:
        matrix_CL = made().matrix_CL
        return {"data": matrix_CL.data, "indices": matrix_CL.indices, "indptr": matrix_CL.indptr}

    found = store.arrays(folder, json.dumps(["scbert", VERSION, content]), make)
    genes, alignment = cells.genes, None
    if reference is not None and not np.array_equal(reference, genes):
        alignment = tokens.align(genes, reference, least_overlap)
        genes = reference
    matrix_CL = sparse.csr_array((len(cells), len(genes) + 1), dtype=np.uint8)
    for name, array in found.items():
        setattr(matrix_CL, name, array)
    return tokens.Tokens(matrix_CL=matrix_CL, genes=genes, alignment=alignment)


def scgpt_ranges(
    folder: Path | None, matrix_CG: sparse.csr_array, n_bins: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give `scgpt.bin_ranges` of the same arguments, kept in `folder` if there is one."""
    if folder is None or matrix_CG.nnz < LEAST_VALUES:
        return scgpt.bin_ranges(matrix_CG, n_bins)
    content = digest([str(n_bins)], matrix_CG.data, matrix_CG.indptr)

    def make() -> dict[str, NDArray[Any]]:
        low_N, high_N = scgpt.bin_ranges(matrix_CG, n_bins)
        return {"low": low_N, "high": high_N}

    found = store.arrays(folder, json.dumps(["scgpt", VERSION, content]), make)
    return found["low"], found["high"]


def digest(words: Iterable[str], *arrays: NDArray[Any]) -> str:
    """Give a digest of words and of the bytes of arrays; where in memory they lie is no matter."""
    hashed = hashlib.blake2b("\x1f".join(words).encode(), digest_size=16)
    for array in arrays:
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()
