"""Hydra's multirun with leadline's sweeper: it resumes, goes on after failures, and retries.

Found by Hydra because of where it lies; `leadline run --multirun` selects it.
"""

# No `from __future__ import annotations`: Hydra's scan runs this module before sys.modules has it,
# where dataclasses cannot look up annotations that are text.
import sys
from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class LeadlineSweeperConfig:
    """`words` are those about the sweep itself: the launcher, and retries."""

    _target_: str = "hydra_plugins.leadline_sweeper.LeadlineSweeper"
    words: list[str] = field(default_factory=list)


ConfigStore.instance().store(
    group="hydra/sweeper", name="leadline", node=LeadlineSweeperConfig, provider="leadline"
)


class LeadlineSweeper(Sweeper):
    """Hands Hydra's words to leadline's sweep."""

    def __init__(self, words: list[str]) -> None:
        self.words = list(words)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Need nothing of Hydra: launchers are leadline's own, and runs are composed by them."""

    def sweep(self, arguments: list[str]) -> None:
        """Make every run of the product of the arguments; leave with the exit code."""
        from leadline.cli.ablate import vary
        from leadline.errors import MISTAKE, UserError

        try:
            code = vary([*arguments, *self.words])
        except UserError as error:
            # Hydra would print where it was raised.
            print(f"leadline: {error}", file=sys.stderr)
            code = MISTAKE
        # Hydra has no other way to pass on that some runs failed.
        raise SystemExit(code)
