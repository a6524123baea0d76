"""Who else is told about a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from leadline.config.checks import choice, within
from leadline.errors import UserError


@dataclass(slots=True, kw_only=True)
class TrackerConfig:
    """Who else is told about a run; the plain one tells nobody."""

    name: str = ""


@dataclass(slots=True, kw_only=True)
class CsvTrackerConfig(TrackerConfig):
    """Appends the numbers of every run to one table."""

    path: str = "runs.csv"


@dataclass(slots=True, kw_only=True)
class TensorboardTrackerConfig(TrackerConfig):
    """Writes event files beside each record, for `tensorboard --logdir runs`."""


@dataclass(slots=True, kw_only=True)
class WandbTrackerConfig(TrackerConfig):
    """Mirrors each run to wandb: `auto` does so at once with a key, else into an offline folder.

    `timeout_seconds` is the longest that a run waits for wandb's server to answer, and
    `upload_seconds` the longest that it waits for its last upload.
    """

    project: str = "leadline"
    entity: str | None = None
    mode: str = "auto"
    tags: list[str] = field(default_factory=list)
    timeout_seconds: float = 20.0
    upload_seconds: float = 120.0

    def __post_init__(self) -> None:
        choice("tracker.mode", self.mode, ("auto", "online", "offline"))
        within("tracker.timeout_seconds", self.timeout_seconds, 0, math.inf, open_low=True)
        within("tracker.upload_seconds", self.upload_seconds, 0, math.inf, open_low=True)
        for tag in self.tags:
            if not 1 <= len(tag) <= 64:
                raise UserError(
                    "a tag of wandb has 1 to 64 characters",
                    got=repr(tag),
                    remedy="shorten it in tracker.tags",
                )
