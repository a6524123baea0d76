"""A run's name: which settings and which data decide it, and what is known of a named run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline import models
from leadline.config import TRAINING_SWITCHES, RunConfig, resolve, science
from leadline.config.tasks import TASKS
from leadline.runs import starting_weights
from leadline.runs.record import identify
from leadline.runs.starting_weights import WeightsSource

if TYPE_CHECKING:
    from leadline.data.cells import Cells
    from leadline.data.splits.split import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class RunName:
    """A run's id, the number of cells of each part of its split, and the number of its genes."""

    run_id: str
    cells: Mapping[str, int]
    genes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRun:
    """All that is known of a run without its model.

    Attributes
    ----------
    config
        With every `published` replaced by what it means for this run.
    starting_weights
        The files and runs that settings of the model name, by setting.
    folder
        Of the record.
    """

    config: RunConfig
    cells: Cells
    split: Split
    data_fingerprint: str
    starting_weights: Mapping[str, WeightsSource]
    run_id: str
    folder: Path

    @property
    def name(self) -> RunName:
        """Give the part that a list of hundreds of runs can keep."""
        return RunName(run_id=self.run_id, cells=self.split.sizes(), genes=len(self.cells.genes))


def learns_by_epochs(config: RunConfig) -> bool:
    """Say whether a model goes through the trainer, and so may choose an epoch."""
    return models.learns_by_epochs(config.model)


def resolved(config: RunConfig) -> RunConfig:
    """Replace every `published` by the value that the paper's code has for this model and data."""
    return resolve.resolve(config, selects=learns_by_epochs(config))


def identity(config: RunConfig, found: Mapping[str, WeightsSource] | None = None) -> dict[str, Any]:
    """Give the settings that decide what a run computes; those that it never reads are left out.

    `config` is resolved. `found` holds the starting weights: they enter by the id of the run that
    made them, or by the digest of their file.
    """
    whole = science(config)
    assert isinstance(whole, dict)
    whole["model"] |= starting_weights.identities(config, found) if found is not None else {}
    for setting in TASKS[config.task].unread_protocol:
        whole["protocol"].pop(setting, None)
    if not TASKS[config.task].trains:
        whole["train"] = {"amp": config.train.amp}
    if not learns_by_epochs(config):
        del whole["train"]
        for switch in TRAINING_SWITCHES:
            whole["protocol"].pop(switch, None)
    return whole


def run_id_of(
    config: RunConfig, found: Mapping[str, WeightsSource], data_fingerprint: str, split: Split
) -> str:
    """Name the run by its science: the same on every machine and in every folder."""
    science_of_run = {
        "config": identity(config, found),
        "data": data_fingerprint,
        "split": split.fingerprint(),
        "protocol_version": resolve.VERSION,
    }
    parts = [
        config.model.name,
        TASKS[config.task].run_id_word,
        config.data.name,
        f"f{config.data.fraction:g}",
        f"s{config.seed}",
    ]
    return identify(science_of_run, "-".join(part for part in parts if part))


def arm_of(config: RunConfig) -> str:
    """Name the arm of a run, also of one that belongs to no study."""
    words = [config.model.name, TASKS[config.task].run_id_word]
    return config.arm or " ".join(word for word in words if word)
