"""Which cells a pretraining run has seen, kept with its record so that nobody is tested on them.

A cell is known by a hash of its id and by a signature: the sum of the hashes of the names of the
genes that it expresses. The signature does not change with the scale, or with the order of genes.

Legend: C cells, G genes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells import Cells
from leadline.errors import UserError

FILE = "corpus.npz"
# Two cells that express the same genes, so many of them, are one cell, whatever their ids say.
GENES_TO_KNOW_A_CELL = 50
CELLS_AT_A_TIME = 8192

Arrays = Mapping[str, NDArray[Any]]


def describe(cells: Cells) -> dict[str, NDArray[Any]]:
    """Give what is to be kept of the cells of a corpus: ids sorted, signatures beside them."""
    ids_C = hashed(cells.ids)
    order = np.argsort(ids_C, kind="stable")
    return {
        "ids": ids_C[order],
        "signatures": signatures(cells)[order],
        "genes": genes_key(cells),
        "dataset": np.array([cells.name], dtype=np.str_),
    }


def read(folder: Path) -> dict[str, NDArray[Any]]:
    """Read what a finished pretraining run has seen."""
    with np.load(folder / FILE, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def hashed(words: NDArray[np.str_]) -> NDArray[np.uint64]:
    """Give 64 bits for each word, the same on every machine."""
    digests = b"".join(
        hashlib.blake2b(word.encode(), digest_size=8).digest() for word in words.tolist()
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def genes_key(cells: Cells) -> NDArray[np.uint64]:
    """Give one number for the set of genes, in whatever order."""
    return np.array([hashed(cells.genes).sum(dtype=np.uint64)], dtype=np.uint64)


def signatures(cells: Cells) -> NDArray[np.uint64]:
    """Add up the hashes of the genes that each cell expresses."""
    hash_G, signature_C = hashed(cells.genes), np.zeros(len(cells), np.uint64)
    for start in range(0, len(cells), CELLS_AT_A_TIME):
        matrix = cells.matrix_CG[start : start + CELLS_AT_A_TIME]
        # Differences of running sums; unsigned numbers wrap around, which does no harm.
        running = np.cumsum(hash_G[matrix.indices], dtype=np.uint64)
        running = np.concatenate([np.zeros(1, np.uint64), running])
        found = running[matrix.indptr[1:]] - running[matrix.indptr[:-1]]
        signature_C[start : start + len(found)] = found
    return signature_C


def seen(corpus: Arrays, cells: Cells, *, copies: bool) -> NDArray[np.bool_]:
    """Mark the cells that are in a corpus.

    Where the genes are the same, that takes the same id and the same signature, since barcodes
    recur between experiments; with `copies`, the signature alone of a cell of many genes will do.
    Where they are not, the id decides.
    """
    ids_C = hashed(cells.ids)
    if not np.array_equal(corpus["genes"], genes_key(cells)):
        return np.isin(ids_C, corpus["ids"])
    signature_C = signatures(cells)
    known_C = np.isin(ids_C ^ mixed(signature_C), corpus["ids"] ^ mixed(corpus["signatures"]))
    if copies:
        telling_C = np.diff(cells.matrix_CG.indptr) >= GENES_TO_KNOW_A_CELL
        known_C |= telling_C & np.isin(signature_C, corpus["signatures"])
    return known_C


def mixed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter bits, so that a pair of words can be told from other pairs by one word."""
    return (word ^ (word >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)


def require_unseen(corpus: Arrays, reported: Cells, run_id: str, *, copies: bool) -> None:
    """Refuse a pretraining that saw cells which are to be reported on."""
    count = int(seen(corpus, reported, copies=copies).sum())
    if not count:
        return
    raise UserError(
        "a pretraining run must not have seen the cells that are reported on",
        got=f"{count:,} of {len(reported):,} reported cells in the corpus of {run_id}",
        remedy="pretrain again with the protocol.test_fraction, split_seed, reported and fold of "
        "this run; if these are other cells under the same names, rename them",
    )
