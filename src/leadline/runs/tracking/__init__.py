"""Whoever else is told of a run while it runs; the record never depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leadline.config import (
    CsvTrackerConfig,
    TensorboardTrackerConfig,
    TrackerConfig,
    WandbTrackerConfig,
)
from leadline.runs.tracking.base import Forgiving, Identity, Silent, Tell, Tracker, tags_of
from leadline.runs.tracking.csv_table import CsvTracker

__all__ = ["Identity", "Silent", "Tell", "Tracker", "build", "opened", "tags_of"]


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
