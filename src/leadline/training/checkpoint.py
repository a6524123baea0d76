"""What must be kept so that a killed fit goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from leadline import distributed
from leadline.training.settings import FitSettings
from leadline.training.step import Stepper

FORMAT = 1
LAST, BEST = "last.pt", "best.pt"


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a fit is. Epochs count from 1; `step` counts the finished steps of this epoch."""

    epoch: int = 1
    step: int = 0
    loss_sum: float = 0.0
    weight: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = 0.0
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    resumed: int = 0

    def mean_loss(self) -> float:
        """Give the mean loss of this epoch so far, by weight."""
        return self.loss_sum / self.weight if self.weight else 0.0


def best_name(epoch: int) -> str:
    """Name the weights of an epoch, so that a checkpoint cannot speak of others than it means."""
    return f"best-{epoch:05d}.pt"


def save(stepper: Stepper, progress: Progress, setting: FitSettings) -> None:
    """Keep everything; all ranks take part, rank 0 writes."""
    states = distributed.all_gather_objects(random_state(setting.device), setting.world)
    if not setting.world.leads:
        return
    content = {
        "format": FORMAT,
        "progress": asdict(progress),
        "network": stepper.network.state_dict(),
        "optimiser": stepper.optimiser.state_dict(),
        "scaler": stepper.scaler.state_dict(),
        "micro": stepper.micro,
        "skipped": stepper.skipped,
        "random": states,
    }
    setting.vault.write(LAST, lambda file: torch.save(content, file))
    names = [best_name(progress.best_epoch)] if progress.best_epoch else []
    setting.vault.keep_only(LAST, *names)


def restore(stepper: Stepper, setting: FitSettings) -> Progress:
    """Go back to the last checkpoint, written on any number of ranks; else start at the start."""
    stored = read(LAST, setting)
    if not distributed.broadcast_object(stored is not None):
        return Progress()
    if stored is None:
        raise RuntimeError("rank 0 sees a checkpoint that this rank does not: is runs_dir shared?")
    if stored["format"] != FORMAT:
        setting.tell("the checkpoint is of another version of leadline: starting anew")
        return Progress()
    stepper.network.load_state_dict(stored["network"])
    stepper.optimiser.load_state_dict(stored["optimiser"])
    stepper.scaler.load_state_dict(stored["scaler"])
    stepper.micro, stepper.skipped = stored["micro"], stored["skipped"]
    progress = Progress(**stored["progress"])
    progress.resumed += 1
    if len(stored["random"]) == setting.world.size:
        restore_random_state(stored["random"][setting.world.rank], setting.device)
    setting.tell(f"goes on in epoch {progress.epoch}, after {progress.step} of its steps")
    return progress


def save_best(network: nn.Module, epoch: int, setting: FitSettings) -> None:
    """Keep the weights of the best epoch so far; the checkpoint that names them comes after."""
    if setting.world.leads:
        content = {"format": FORMAT, "epoch": epoch, "network": network.state_dict()}
        setting.vault.write(best_name(epoch), lambda file: torch.save(content, file))


def read(name: str, setting: FitSettings) -> dict[str, Any] | None:
    """Read what was kept; only tensors and plain values are let in."""
    opened = setting.vault.open(name)
    if opened is None:
        return None
    with opened as file:
        stored = torch.load(file, map_location=setting.device, weights_only=True)
    assert isinstance(stored, dict)
    return stored


def random_state(device: torch.device) -> list[torch.Tensor]:
    """Save the states of torch's random generators, for models that draw from them."""
    states = [torch.get_rng_state()]
    return states if device.type == "cpu" else [*states, torch.cuda.get_rng_state(device)]


def restore_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    """Restore the states of torch's random generators."""
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)
