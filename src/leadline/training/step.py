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
from leadline.models.dropout import set_cells
from leadline.models.network import Batch, BatchSource, DrawKey, trainable
from leadline.training.objectives import Objective
from leadline.training.precision import autocast, make_scaler
from leadline.training.settings import FitSettings

# A loss this many times the lowest epoch's is said to have exploded.
EXPLODED = 3.0
CELLS_SHOWN = 32


class NumbersWrong(Exception):
    """Loss or gradients are no longer numbers."""


def check_finite(
    loss: float, norm: float, *, epoch: int, step: int, ids: NDArray[np.str_], last_good: int
) -> None:
    """Stop at a loss or a gradient that is not finite.

    `epoch` counts from 1, `step` from 0; `last_good` is 0 before the first epoch is over.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {norm}"
    shown = ", ".join(map(str, ids[:CELLS_SHOWN]))
    more = f" and {len(ids) - CELLS_SHOWN} more" if len(ids) > CELLS_SHOWN else ""
    good = f"epoch {last_good}" if last_good else "none"
    raise NumbersWrong(
        f"{what} in epoch {epoch}, step {step + 1}; last good epoch: {good}; lower train.lr, set "
        f"train.clip, or look at the cells of this batch: {shown}{more}"
    )


def exploded(losses: Sequence[float]) -> str | None:
    """Warn where the last epoch's loss stands far above the lowest one before it."""
    if len(losses) < 2 or losses[-1] <= EXPLODED * min(losses[:-1]):
        return None
    return (
        f"the training loss exploded in epoch {len(losses)}: {losses[-1]:.4g} after "
        f"{min(losses[:-1]):.4g}"
    )


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a smaller micro-batch might fit."""
    import torch

    # Of CPUs; of CUDA, NCCL and torch's allocator; of cuBLAS and cuDNN.
    words = (
        *("can't allocate memory", "not enough memory"),
        *("out of memory", "_STATUS_ALLOC_FAILED"),
    )
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """Sums over the global batch, the gradient's norm, and the flags that any rank raised."""

    loss_sum: float
    weight: float
    norm: float
    flags: tuple[bool, ...]


class Losses(nn.Module):
    """An objective around its network: what DistributedDataParallel wraps.

    It sums the gradients of what goes through its own forward pass alone, and objectives enter a
    network at more places than one.
    """

    def __init__(self, objective: Objective, network: nn.Module) -> None:
        super().__init__()
        self.objective, self.network = objective, network

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Give the sum of losses and the sum of their weights."""
        return self.objective.loss(self.network, batch)


class Stepper:
    """Takes steps; owns the optimiser, the scaler and the size of micro-batches."""

    def __init__(
        self, objective: Objective, network: nn.Module, source: BatchSource, setting: FitSettings
    ) -> None:
        self.network, self.source, self.setting = network, source, setting
        train = setting.train
        # What runs may be a compiled form of what is kept.
        running = cast(nn.Module, torch.compile(network)) if train.compile else network
        self.losses: nn.Module = Losses(objective, running)
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
        self, rows: NDArray[np.int64], epoch: int, rate: float, flags: Sequence[bool] = ()
    ) -> StepResult:
        """Move the weights by one global batch; nothing moves if the numbers are not finite."""
        world = self.setting.world
        if world.size > 1 and isinstance(self.losses, Losses):
            self._settle(rows, epoch)
            self.losses = distributed.data_parallel(self.losses)
        own = distributed.share_of(rows, world.rank, world.size)
        sums = self._accumulate(own, epoch, rows)
        told = torch.tensor([*sums, *flags], dtype=torch.float64)
        loss_sum, weight, *wished = distributed.all_reduce(told).tolist()
        norm = self._scale(len(rows) / weight) if weight > 0 else 0.0
        if math.isfinite(loss_sum) and weight > 0:
            self._move(rate, norm)
        self.optimiser.zero_grad(set_to_none=True)
        return StepResult(
            loss_sum=loss_sum, weight=weight, norm=norm, flags=tuple(map(bool, wished))
        )

    def _settle(self, rows: NDArray[np.int64], epoch: int) -> None:
        """Find a micro-batch that fits on all ranks, which cannot try again once they sum.

        The longest cells are tried where cells have lengths, and beside room for the moments that
        the optimiser will keep. All is put back as it was.
        """
        device = self.setting.device
        lengths_C = getattr(self.source, "lengths_C", None)
        if lengths_C is not None:
            rows = np.argsort(-lengths_C, kind="stable")[: len(rows)]
        numbers = 0 if self.optimiser.state else 2 * sum(p.numel() for p in self.parameters)
        before = [buffer.clone() for buffer in self.network.buffers()]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            while True:
                try:
                    moments = torch.empty(numbers, device=device)
                    self._pass(rows[: self.micro], epoch, rows)
                    break
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error):
                        raise
                self._halve()
        del moments
        self.optimiser.zero_grad(set_to_none=True)
        for buffer, value in zip(self.network.buffers(), before, strict=True):
            buffer.copy_(value)
        self.micro = min(distributed.all_gather_objects(self.micro, self.setting.world))

    def _accumulate(
        self, own: NDArray[np.int64], epoch: int, rows: NDArray[np.int64]
    ) -> list[float]:
        """Add up gradients over micro-batches; a single process halves them if memory runs out."""
        while True:
            try:
                return self._pass(own, epoch, rows)
            except (RuntimeError, MemoryError) as error:
                if self.setting.world.size > 1 or not out_of_memory(error):
                    raise
            # Outside the handler, where the error no longer holds on to what it ran out with.
            self._halve()

    def _pass(self, own: NDArray[np.int64], epoch: int, rows: NDArray[np.int64]) -> list[float]:
        """Add up the gradients of a rank's own rows, of all rows of a batch."""
        device, seed = self.setting.device, self.setting.seed
        losses: list[Tensor] = []
        weights: list[Tensor | float] = []
        # All ranks must sum: one without a cell computes one of the batch's, of no weight.
        idle = not len(own)
        own = rows[:1] if idle else own
        for start in range(0, len(own), self.micro):
            piece = own[start : start + self.micro]
            set_cells(self.network, seed=seed, epoch=epoch, rows=piece)
            batch = moved(self.source.batch(piece, DrawKey(seed=seed, epoch=epoch)), device)
            with distributed.summing(self.losses, now=start + self.micro >= len(own)):
                with autocast(self.setting.train, device):
                    loss, weight = self.losses(batch)
                # Divided by a number all ranks know, for fp16's sake; the exact weight comes later.
                self.scaler.scale(loss * 0.0 if idle else loss / len(rows)).backward()
            losses.append(loss.detach())
            weights.append(weight)
        # Only now does the CPU wait for the device; Python adds in double precision.
        return [0.0, 0.0] if idle else [sum(map(float, losses)), sum(map(float, weights))]

    def _halve(self) -> None:
        if self.micro == 1 or self.setting.train.micro_batch != "auto":
            raise UserError(
                "a micro-batch must fit into the memory of the device",
                got=f"out of memory with {self.micro} cells at a time",
                remedy="use a smaller model or train.activation_checkpointing=true"
                if self.micro == 1
                else "let train.micro_batch=auto find the size",
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.micro = max(1, self.micro // 2)
        if self.setting.device.type == "cuda":
            torch.cuda.empty_cache()
        self.setting.tell(f"out of memory: {self.micro} cells at a time from here on")

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
