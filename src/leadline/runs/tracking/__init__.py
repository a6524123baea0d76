"""Whoever else is told of a run while it runs; the record never depends on it."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from leadline.config import (
    CsvTrackerConfig,
    TensorboardTrackerConfig,
    TrackerConfig,
    WandbTrackerConfig,
)
from leadline.runs import record
from leadline.runs.tracking.base import (
    Forgiving,
    Identity,
    Silent,
    Tell,
    Tracker,
    reported,
    tags_of,
)

__all__ = ["Identity", "Silent", "Tell", "Tracker", "build", "opened", "tags_of"]

# Columns of the long table of the tracker csv.
HEAD = ("run_id", "step", "metric", "value")


def build(config: TrackerConfig, identity: Identity, folder: Path, tell: Tell) -> Tracker:
    """Make the tracker that a configuration names, for the run whose record is in `folder`.

    Nothing that goes wrong in it stops the run; `tell` then says so, once.
    """
    if not config.name or config.name == "none":
        return Silent()
    return Forgiving(chosen(config, identity, folder), config.name, tell)


def chosen(config: TrackerConfig, identity: Identity, folder: Path) -> Tracker:
    """Make the bare tracker; a package that is missing is said here, before the run begins."""
    if isinstance(config, CsvTrackerConfig):
        return CsvTracker(Path(config.path), identity.run_id)
    if isinstance(config, TensorboardTrackerConfig):
        from leadline.runs.tracking.tensorboard import TensorboardTracker

        return TensorboardTracker(folder)
    if isinstance(config, WandbTrackerConfig):
        from leadline.runs.tracking.wandb.tracker import WandbTracker

        return WandbTracker(config, identity, folder)
    return Silent()


@contextmanager
def opened(tracker: Tracker) -> Iterator[Tracker]:
    """Let go of a run in the end, and tell if it failed."""
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
    tracker.close()


class CsvTracker(Silent):
    """Appends every number of every run, once; step 0 holds the scores of the finished run."""

    def __init__(self, path: Path, run_id: str) -> None:
        self.path, self.run_id = path, run_id
        self.told: set[int] | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row a number, all at once, whole even when many runs write."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            cut_torn_line(file)
            if self.told is None:
                self.told = steps_of(file, self.run_id)
            if step in self.told:
                return
            empty = file.seek(0, os.SEEK_END) == 0
            rows: list[tuple[object, ...]] = [
                (self.run_id, step, name, value) for name, value in values.items()
            ]
            file.write(as_lines([HEAD, *rows] if empty else rows))
        self.told.add(step)

    def finish(self, folder: Path) -> None:
        """Append the scores of the finished run."""
        self.log(0, reported(record.read_facts(folder)))


def cut_torn_line(file: BinaryIO) -> None:
    """Remove the end of a line whose writer was killed while it wrote."""
    size = file.seek(0, os.SEEK_END)
    place = max(0, size - 65536)
    file.seek(place)
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(place + tail.rfind(b"\n") + 1)


def steps_of(file: BinaryIO, run_id: str) -> set[int]:
    """Find which steps of a run are in the table."""
    file.seek(0)
    start = f"{run_id},".encode()
    return {int(line.split(b",")[1]) for line in file if line.startswith(start)}


def as_lines(rows: list[tuple[object, ...]]) -> bytes:
    """Write rows as one piece of text, so that a reader or a kill finds all of them or none."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
