"""Event files for TensorBoard, beside each record."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from leadline.errors import UserError
from leadline.runs import record
from leadline.runs.tracking.base import Silent, reported

FOLDER = "tensorboard"


class TensorboardTracker(Silent):
    """Writes scalars to <record>/tensorboard, once each, and before the next epoch begins."""

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise UserError(
                "tracker=tensorboard needs the package tensorboard",
                got="an installation without it",
                remedy='install it with pip install "leadline[tensorboard]"',
            )
        self.folder = folder / FOLDER
        self.told: set[tuple[int, str]] = set()
        self.writer: Any = None

    def begin(self) -> None:
        """Open a file of our own; what earlier attempts wrote is read and not written again."""
        from tensorboard.summary import Writer

        if self.writer is None:
            self.told = told_before(self.folder)
            self.writer = Writer(str(self.folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write what is new."""
        self.begin()
        for name, value in values.items():
            if (step, name) not in self.told:
                self.writer.add_scalar(name, value, step)
                self.told.add((step, name))
        self.writer.flush()

    def finish(self, folder: Path) -> None:
        """Write the scores of the finished run at the epoch that gave them."""
        facts = record.read_facts(folder)
        scores, best = reported(facts), facts.get("selected", {}).get("best_epoch") or 0
        if not {(best, name) for name in scores} <= told_before(self.folder):
            self.log(best, scores)

    def close(self, *, failed: bool = False) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def told_before(folder: Path) -> set[tuple[int, str]]:
    """Read which scalars the event files of a folder hold, as (step, name)."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return {
        (event.step, value.tag)
        for path in sorted(folder.glob("events.out.tfevents.*"))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }
