"""Sub-problems that were solved before, found by their content.

Two runs whose training cells, labels, grid and settings agree share their solutions, whatever
their seed or study. An entry that cannot be read counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline import files

# Part of every key: raise it when a solver gives other numbers for the same problem.
VERSION = 1

Arrays = Mapping[str, NDArray[Any]]


class Cache:
    """A folder of solutions; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str) -> Arrays | None:
        """Give what was kept under this key."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{key}.npz", allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under this key; two writers at once write the same."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.write_arrays(self.folder / f"{key}.npz", arrays)


def key_of(problem: str, rows: NDArray[np.int64], settings: Mapping[str, Any]) -> str:
    """Name a sub-problem: the fingerprint of its cells, the rows it trains on, the settings."""
    digest = hashlib.sha256(problem.encode())
    digest.update(rows.astype("<i8").tobytes())
    digest.update(json.dumps({"version": VERSION, **settings}, sort_keys=True).encode())
    return digest.hexdigest()
