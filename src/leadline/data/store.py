"""Tokens on disk, made once and then mapped into the memory of every process that reads them.

A set of arrays lies in a folder of its own, named by the digest of its key: one .npy file each and
a table of contents, written last. The first process makes them under a lock; others wait for it,
and go on by themselves if it dies.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline import files, locks
from leadline.data.cells import Cells
from leadline.models.scbert import tokens
from leadline.models.scgpt import tokens as scgpt
from leadline.progress import say

Arrays = dict[str, NDArray[Any]]

CONTENTS = "CONTENTS"
GLANCE_SECONDS = 0.1
# The lock on disk keeps processes apart, not the threads of one.
ONE_THREAD = threading.Lock()
# A store that cannot be written to is a pity, not a failure.
UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT})


def arrays(folder: Path, key: str, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
    """Give the arrays of a key, read-only; `make` is called where nobody made them before.

    The key must name everything that decides their content: data, rows, settings, and a version
    of the code. Where the folder cannot be written to, the arrays are made anew each time.
    """
    place = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
    with ONE_THREAD, contextlib.ExitStack() as stack:
        found, ours = read(place, key), False
        while found is None and not ours:
            try:
                place.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locks.hold(place))
                ours = True
            except locks.Busy:
                time.sleep(GLANCE_SECONDS)
            except OSError as error:
                if error.errno not in UNWRITABLE:
                    raise
                break
            # Another process may have made them while this one came to hold the lock.
            found = read(place, key)
        if found is not None:
            return found
        made = {name: np.ascontiguousarray(array) for name, array in make().items()}
        return kept(place, key, made) if ours else sealed(made)


def kept(place: Path, key: str, made: Arrays) -> Arrays:
    """Write arrays, or give them as they are where there is no room for them."""
    try:
        write(place, key, made)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        say(f"tokens are not kept: {place} cannot be written to ({error.strerror})")
        files.sweep(place)
        return sealed(made)
    found = read(place, key)
    return sealed(made) if found is None else found


def write(place: Path, key: str, made: Arrays) -> None:
    """Write arrays, then the table of contents; only for the holder of the lock."""
    files.sweep(place)
    with contextlib.suppress(FileNotFoundError):
        (place / CONTENTS).unlink()
    for name, array in made.items():

        def fill(file: BinaryIO, array: NDArray[Any] = array) -> None:
            np.lib.format.write_array(file, array, allow_pickle=False)

        files.write_with(place / f"{name}.npy", fill)
    sizes = {name: (place / f"{name}.npy").stat().st_size for name in made}
    files.write_json(place / CONTENTS, {"key": key, "bytes": sizes})


def read(place: Path, key: str) -> Arrays | None:
    """Map what was made; None where it is not there, or not whole."""
    try:
        contents = json.loads((place / CONTENTS).read_text())
        if contents["key"] != key:
            return None
        found = {}
        for name, size in contents["bytes"].items():
            path = place / f"{name}.npy"
            if path.stat().st_size != size:
                return None
            # As a plain array: cutting rows out of numpy's own class for maps is slow.
            found[name] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return found


def sealed(made: Arrays) -> Arrays:
    """Let nobody write into arrays that the next run may be given too."""
    for array in made.values():
        array.flags.writeable = False
    return made


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

    found = arrays(folder, json.dumps(["scbert", VERSION, content]), make)
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

    found = arrays(folder, json.dumps(["scgpt", VERSION, content]), make)
    return found["low"], found["high"]


def digest(words: Iterable[str], *arrays: NDArray[Any]) -> str:
    """Give a digest of words and of the bytes of arrays; where in memory they lie is no matter."""
    hashed = hashlib.blake2b("\x1f".join(words).encode(), digest_size=16)
    for array in arrays:
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()
