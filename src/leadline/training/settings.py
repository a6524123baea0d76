"""Everything that a fit is told from outside."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import torch

from leadline.config import TrainConfig
from leadline.distributed import World
from leadline.processes import StopRequest


class Checkpoints(Protocol):
    """Where checkpoints are kept, by name; `record.Vault` is one on disk."""

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> None:
        """Keep what `fill` writes; whole or not at all."""

    def open(self, name: str) -> AbstractContextManager[BinaryIO] | None:
        """Give what was kept, or None."""

    def keep_only(self, *names: str) -> None:
        """Throw the others away."""


class CheckpointsInMemory:
    """Keeps checkpoints for as long as the process lives."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> None:
        """Keep what `fill` writes."""
        buffer = io.BytesIO()
        fill(buffer)
        self.kept[name] = buffer.getvalue()

    def open(self, name: str) -> BinaryIO | None:
        """Give what was kept, or None."""
        return io.BytesIO(self.kept[name]) if name in self.kept else None

    def keep_only(self, *names: str) -> None:
        """Throw the others away."""
        self.kept = {name: content for name, content in self.kept.items() if name in names}


def quiet(text: str) -> None:
    """Discard the values."""


def untracked(epoch: int, values: Mapping[str, float]) -> None:
    """Track nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How, from which seed, on which device, and who is told.

    `select_by` names the score of the selection set that chooses the epoch: `loss`, or one that
    is better when higher. `order` is `shuffled`, `fixed`, or `replacement`: cells drawn anew for
    each place, those of the selection set as well.
    """

    train: TrainConfig
    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = field(default_factory=World)
    select_by: str = "accuracy"
    order: str = "shuffled"
    vault: Checkpoints = field(default_factory=CheckpointsInMemory)
    notice: StopRequest = field(default_factory=StopRequest)
    tell: Callable[[str], None] = quiet
    track: Callable[[int, Mapping[str, float]], None] = untracked
