"""A run as wandb knows it, wherever it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class WandbRun:
    """One run as wandb knows it; `finished` says that its writer came to its end without an error.

    `history` holds one row a step, in the order of steps.
    """

    run_id: str
    project: str = ""
    entity: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    finished: bool = False
    source: str = ""
