"""What a tracker is told: that a run begins, what each epoch gave, what its record holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from leadline.config import RunConfig, WandbTrackerConfig

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which run it is; `config` is the resolved configuration as plain values."""

    run_id: str
    study: str | None
    arm: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Whoever else is told of a run while it runs.

    Each call may be repeated, by a run that goes on after a kill or is asked for again: what was
    told before is not told twice.
    """

    def begin(self) -> None:
        """Tell that the run begins or goes on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell what was measured at the end of an epoch."""

    def finish(self, folder: Path) -> None:
        """Tell what a finished record holds."""

    def close(self, *, failed: bool = False) -> None:
        """Let go of the run; the last call in a process."""


class Silent:
    """Tells nobody."""

    def begin(self) -> None:
        """Do nothing."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def finish(self, folder: Path) -> None:
        """Do nothing."""

    def close(self, *, failed: bool = False) -> None:
        """Do nothing."""


def reported(facts: Mapping[str, Any]) -> dict[str, float]:
    """Give the scores of a finished record as part/metric → value."""
    return {
        f"{part}/{name}": value
        for part, scores in facts.get("metrics", {}).items()
        for name, value in scores.items()
        if value is not None
    }


class Forgiving:
    """Lets nothing that goes wrong in a tracker reach the run; says so once."""

    def __init__(self, tracker: Tracker, name: str, tell: Tell) -> None:
        self.tracker, self.name, self.tell = tracker, name, tell
        self.complained = False

    def begin(self) -> None:
        """Tell that the run begins or goes on."""
        with self.forgiven():
            self.tracker.begin()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell what was measured at the end of an epoch."""
        with self.forgiven():
            self.tracker.log(step, values)

    def finish(self, folder: Path) -> None:
        """Tell what a finished record holds."""
        with self.forgiven():
            self.tracker.finish(folder)

    def close(self, *, failed: bool = False) -> None:
        """Let go of the run."""
        with self.forgiven():
            self.tracker.close(failed=failed)

    @contextmanager
    def forgiven(self) -> Iterator[None]:
        """Turn any error into one line, the first time."""
        try:
            yield
        except Exception as error:
            if not self.complained:
                self.complained = True
                said = str(error).strip().splitlines() or [""]
                self.tell(
                    f"warning: tracker={self.name} does not work, the run goes on without it: "
                    f"{type(error).__name__}: {said[0]}"
                )


def tags_of(config: RunConfig) -> tuple[str, ...]:
    """Give what runs are filtered by: dataset, model, protocol, and the user's own tags."""
    own = config.tracker.tags if isinstance(config.tracker, WandbTrackerConfig) else []
    words = [config.data.name, config.model.name, config.protocol.name, *own]
    return tuple(dict.fromkeys(word[:64] for word in words if word))
