"""One optimiser step on one global batch, however many devices and pieces it takes.

The mathematics: gradient = (sum over the cells of the global batch of weight × gradient of their
loss) / (sum of their weights). Micro-batches and ranks add up the two sums; nothing is averaged
before the end, so that neither changes the result beyond rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline import distributed
from leadline.errors import UserError
from leadline.models.dropout import aim
from leadline.models.network import Batch, Moment, Source, trainable
from leadline.training.objectives import Objective
from leadline.training.settings import Setting
from leadline.training.step__trainer_guards import out_of_memory
from leadline.training.step__trainer_precision import autocast, make_scaler


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a step was: sums over the global batch, the gradient's norm, wishes of any rank."""

    loss_sum: float
    weight: float
    norm: float
    wishes: tuple[bool, ...]


class Stepper:
    """Takes steps; owns the optimiser, the scaler and the size of micro-batches."""

    def __init__(
        self, objective: Objective, network: nn.Module, source: Source, setting: Setting
    ) -> None:
        self.objective, self.network, self.source, self.setting = (
            objective,
            network,
            source,
            setting,
        )
        train = setting.train
        # What runs may be a compiled form of what is kept.
        self.running: nn.Module = network
        if train.compile:
            self.running = cast(nn.Module, torch.compile(network))
        self.parameters = trainable(network)
        kind = torch.optim.AdamW if train.optimiser == "adamw" else torch.optim.Adam
        self.optimiser = kind(
            self.parameters,
            lr=train.lr,
            eps=train.eps,
            weight_decay=train.weight_decay,
            fused=True,
        )
        self.scaler = make_scaler(train, setting.device)
        share = -(-train.batch_size // setting.world.size)
        self.micro = share if train.micro_batch == "auto" else min(share, int(train.micro_batch))
        self.skipped = 0

    def take(
        self, rows: NDArray[np.int64], epoch: int, rate: float, wishes: Sequence[bool] = ()
    ) -> Taken:
        """Move the weights by one global batch; nothing moves if the numbers are not finite."""
        own = distributed.share_of(rows, self.setting.world.rank, self.setting.world.size)
        sums = self._accumulate(own, epoch, len(rows))
        loss_sum, weight, *told = self._reduce(sums, wishes)
        norm = self._scale(len(rows) / weight) if weight > 0 else 0.0
        if math.isfinite(loss_sum) and weight > 0:
            self._move(rate, norm)
        self.optimiser.zero_grad(set_to_none=True)
        return Taken(loss_sum=loss_sum, weight=weight, norm=norm, wishes=tuple(map(bool, told)))

    def _accumulate(self, rows: NDArray[np.int64], epoch: int, n_global: int) -> list[float]:
        """Add up gradients over micro-batches, smaller ones if memory runs out."""
        while True:
            try:
                return self._pass(rows, epoch, n_global)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Outside the handler, where the error no longer holds on to what it ran out with.
            self.optimiser.zero_grad(set_to_none=True)
            self._halve()

    def _pass(self, rows: NDArray[np.int64], epoch: int, n_global: int) -> list[float]:
        device, seed = self.setting.device, self.setting.seed
        losses: list[Tensor] = []
        weights: list[Tensor | float] = []
        for start in range(0, len(rows), self.micro):
            piece = rows[start : start + self.micro]
            aim(self.network, seed=seed, epoch=epoch, rows=piece)
            batch = moved(self.source.batch(piece, Moment(seed=seed, epoch=epoch)), device)
            with autocast(self.setting.train, device):
                loss, weight = self.objective.loss(self.running, batch)
            # Divided by a number all ranks know, for fp16's sake; the exact weight comes later.
            self.scaler.scale(loss / n_global).backward()
            losses.append(loss.detach())
            weights.append(weight)
        # Only now does the CPU wait for the device; Python adds in double precision.
        return [sum(map(float, losses)), sum(map(float, weights))]

    def _halve(self) -> None:
        if self.micro == 1 or self.setting.train.micro_batch != "auto":
            raise UserError(
                "a micro-batch must fit into the memory of the device",
                got=f"out of memory with {self.micro} cells at a time",
                remedy="use a smaller model or train.activation_checkpointing=true"
                if self.micro == 1
                else "let train.micro_batch=auto find the size",
            )
        self.micro = max(1, self.micro // 2)
        if self.setting.device.type == "cuda":
            torch.cuda.empty_cache()
        self.setting.tell(f"out of memory: {self.micro} cells at a time from here on")

    def _reduce(self, sums: list[float], wishes: Sequence[bool]) -> list[float]:
        """Add gradients, sums and wishes over ranks."""
        if self.setting.world.size == 1:
            return [*sums, *map(float, wishes)]
        # A parameter without a gradient on all ranks stays without one, as on a single process.
        used = [parameter.grad is not None for parameter in self.parameters]
        told = torch.tensor([*sums, *wishes, *used], dtype=torch.float64)
        values = distributed.add(told.to(self.setting.device)).tolist()
        used_somewhere = values[2 + len(wishes) :]
        touched = [p for p, n in zip(self.parameters, used_somewhere, strict=True) if n]
        for parameter in touched:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        distributed.add_all([p.grad for p in touched if p.grad is not None])
        return list(values[: 2 + len(wishes)])

    def _scale(self, factor: float) -> float:
        """Bring gradients to their final size, clip them, and give the norm before clipping."""
        self.scaler.unscale_(self.optimiser)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if factor != 1:
            torch._foreach_mul_(gradients, factor)
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.setting.train.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.setting.train.clip, norm)
        return float(norm)

    def _move(self, rate: float, norm: float) -> None:
        if not self.scaler.is_enabled() and not math.isfinite(norm):
            return
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # With fp16 an infinite gradient means a scale too large: the scaler skips and lowers it.
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.skipped += not math.isfinite(norm)

    def may_overflow(self) -> bool:
        """Say whether infinite gradients may still come from fp16's scale alone."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0


def moved(batch: Batch, device: torch.device) -> Batch:
    """Bring a batch to the device that computes."""
    if device.type == "cpu":
        return batch
    return {name: x.pin_memory().to(device, non_blocking=True) for name, x in batch.items()}
