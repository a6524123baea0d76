"""One run: its cells, model, training, protocol and tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from leadline.config.checks import TO_BE_COMPOSED, added_later, choice, operational, within
from leadline.config.data import (
    DataConfig,
    EmbeddedData,
    FileData,
    MsLikeData,
    PublishedData,
    StoreData,
    ZhengLikeData,
)
from leadline.config.models import ModelConfig
from leadline.config.protocol import ProtocolConfig
from leadline.config.registry import Schemas
from leadline.config.tasks import TASKS, SettingsSchemas, TaskSettings
from leadline.config.tracker import (
    CsvTrackerConfig,
    TensorboardTrackerConfig,
    TrackerConfig,
    WandbTrackerConfig,
)
from leadline.config.train import TrainConfig
from leadline.errors import UserError


@dataclass(slots=True, kw_only=True)
class RunConfig:
    """One run: which cells, which model, how it is fitted, and under which protocol."""

    data: DataConfig = TO_BE_COMPOSED
    model: ModelConfig = TO_BE_COMPOSED
    train: TrainConfig = TO_BE_COMPOSED
    protocol: ProtocolConfig = TO_BE_COMPOSED
    tracker: TrackerConfig = operational(TO_BE_COMPOSED)
    task: str = "classify"
    # None for a task without settings of its own, whose runs keep the names that they had.
    task_settings: TaskSettings | None = added_later(None)
    seed: int = 1
    # On whose behalf the run is first made; a run may belong to several studies.
    study: str = operational("")
    arm: str = operational("")
    runs_dir: str = operational("runs")
    data_dir: str = operational("")

    def __post_init__(self) -> None:
        choice("task", self.task, TASKS)
        within("seed", self.seed, 0, 2**32 - 1)
        if self.task_settings is not None and not TASKS[self.task].settings:
            raise UserError(
                "task_settings belong to a task that has some",
                got=f"task={self.task}",
                remedy=f"leave them out, or choose task={' or '.join(SettingsSchemas())}",
            )


# Option name in conf/<group>/ → the schema that its YAML file starts from.
SCHEMAS: dict[str, Mapping[str, type]] = {
    "data": {
        "embedded": EmbeddedData,
        "file": FileData,
        "store": StoreData,
        "published": PublishedData,
        "zheng_like": ZhengLikeData,
        "ms_like": MsLikeData,
    },
    "model": Schemas(),
    "task_settings": SettingsSchemas(),
    "train": {"train": TrainConfig},
    "protocol": {"protocol": ProtocolConfig},
    "tracker": {
        "tracker": TrackerConfig,
        "csv": CsvTrackerConfig,
        "tensorboard": TensorboardTrackerConfig,
        "wandb": WandbTrackerConfig,
    },
}


def science(config: Any) -> Any:
    """Give the part of a configuration that decides what is computed, as plain values."""
    if is_dataclass(config):
        return {
            item.name: science(getattr(config, item.name))
            for item in fields(config)
            if not item.metadata.get("operational")
            if getattr(config, item.name) not in item.metadata.get("silent_at", ())
        }
    return list(config) if isinstance(config, list | tuple) else config


def as_recorded(config: Any) -> dict[str, Any]:
    """Give a configuration as a record holds it: without what was added later and is not used."""
    plain = asdict(config)
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            plain[item.name] = as_recorded(value)
        elif item.metadata.get("unwritten") and value in item.metadata["silent_at"]:
            del plain[item.name]
    return plain
