"""Cells that several runs of one process share, with their fingerprint and their splits."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from leadline.config import DataConfig, science
from leadline.data import datasets
from leadline.data.cells import Cells
from leadline.data.splits.split import Split

# A study works on one dataset, or on a few in turn; each may fill gigabytes.
DATASETS_KEPT = 2
# Each split chooses genes of its own; the folds of small data are gone through in turn.
CHOICES_KEPT = 5


class LoadedData:
    """One dataset in memory and what was found out about it; nobody changes any of it."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self._splits: dict[str, Split] = {}
        self._fewer: dict[str, Cells] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Give the cells' SHA-256."""
        return self.cells.fingerprint()

    def split(self, key: str, make: Callable[[], Split]) -> Split:
        """Give the split of this key, made on first use."""
        if key not in self._splits:
            self._splits[key] = make()
        return self._splits[key]

    def fewer_genes(self, key: str, make: Callable[[], Cells]) -> Cells:
        """Give the cells with some of their genes, chosen on first use; the last few are kept."""
        if key not in self._fewer:
            kept = list(self._fewer.items())[-(CHOICES_KEPT - 1) :]
            self._fewer = dict(kept) | {key: make()}
        return self._fewer[key]


@dataclass(frozen=True)
class DataKey:
    """Where cells come from; equal sources hold equal cells."""

    key: str
    data: DataConfig = field(compare=False)
    data_dir: Path = field(compare=False)


def load_once(data: DataConfig, data_dir: Path) -> LoadedData:
    """Give the cells that a configuration names, read once for all runs of this process."""
    return _load(DataKey(data_key(data, data_dir), data, data_dir))


def data_key(data: DataConfig, data_dir: Path) -> str:
    """Describe what is read, so that a file which was changed since counts as another one."""
    stamps = []
    for path in datasets.files(data, data_dir):
        stat = path.stat() if path.exists() else None
        stamps.append([os.path.realpath(path), stat and stat.st_size, stat and stat.st_mtime_ns])
    columns = {key: value for key, value in science(data).items() if key != "fraction"}
    return json.dumps([type(data).__name__, columns, stamps], sort_keys=True)


@lru_cache(maxsize=DATASETS_KEPT)
def _load(source: DataKey) -> LoadedData:
    return LoadedData(datasets.load(source.data, source.data_dir))
