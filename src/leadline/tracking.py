"""Whoever else is told of a run while it runs; the record never depends on it."""

from __future__ import annotations

import csv
import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from leadline.config import CsvTrackerConfig, TrackerConfig


class Tracker(Protocol):
    """What a run tells."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell what was measured at a step; step 0 is the end of a run without epochs."""


class Silent:
    """Tells nobody."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""


class CsvTracker:
    """Appends every number of every run to one long table: run_id, step, metric, value."""

    def __init__(self, path: Path, run_id: str) -> None:
        self.path, self.run_id = path, run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row a number, whole even when many runs write at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(["run_id", "step", "metric", "value"])
            writer.writerows([self.run_id, step, name, value] for name, value in values.items())


def build(config: TrackerConfig, run_id: str) -> Tracker:
    """Make the tracker that a configuration names."""
    if isinstance(config, CsvTrackerConfig):
        return CsvTracker(Path(config.path), run_id)
    return Silent()
