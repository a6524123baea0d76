"""From a model's configuration to the model, by its row in `leadline.config.registry`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from leadline import config
from leadline.config import registry
from leadline.models.base import Model

if TYPE_CHECKING:
    from numpy.random import RandomState

    from leadline.data.cells import Cells
    from leadline.models.network import Start, TorchModel


def learns_by_epochs(chosen: config.ModelConfig) -> bool:
    """Say whether the trainer fits a model, which then may choose an epoch."""
    return registry.of(chosen).kind == "network"


def build(
    chosen: config.ModelConfig,
    *,
    seed: int,
    threads: int = 1,
    cache: Path | None = None,
    device: str = "cpu",
    stream: RandomState | None = None,
    whole: Cells | None = None,
    log: Callable[[str], None] | None = None,
) -> Model:
    """Make the model that a configuration describes.

    `cache` is a folder for solutions that other runs can share; without one nothing is kept.
    `stream` goes on with random numbers that were drawn from before, where the paper's code does.
    A program outside may embed `whole`, all cells of the data set, at once, and tells the `log`.
    """
    known: dict[str, Any] = {"seed": seed, "threads": threads, "cache": cache, "device": device}
    known |= {"stream": stream, "whole": whole, "log": log or (lambda text: None)}
    return cast(Model, make_model(chosen, **known))


def build_network(
    chosen: config.ModelConfig, *, train: config.TrainConfig, start: Start | None = None
) -> TorchModel:
    """Make the model that the trainer fits.

    `start` is where its first weights come from; without one they are drawn.
    """
    return cast("TorchModel", make_model(chosen, freeze=train.freeze, start=start))


def make_model(chosen: config.ModelConfig, **known: Any) -> Any:
    """Import a model's class, and tell it what its constructor asks for by name.

    It is imported here and not above: scikit-learn alone takes a second.
    """
    kind = registry.imported(registry.of(chosen).model)
    asked = inspect.signature(kind).parameters
    told = {"config": chosen, **known}
    return kind(**{name: value for name, value in told.items() if name in asked})
