"""One optimiser step on one global batch, however many devices and pieces it takes.

The mathematics: gradient = (sum over the cells of the global batch of weight × gradient of their
loss) / (sum of their weights). Micro-batches and ranks add up the two sums; nothing is averaged
before the end, so that neither changes the result beyond rounding.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline import distributed
from leadline.config import TrainConfig
from leadline.errors import UserError
from leadline.models.dropout import set_cells
from leadline.models.network import Batch, BatchSource, DrawKey, trainable
from leadline.progress import say
from leadline.training.objectives import Objective
from leadline.training.settings import FitSettings

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
CANNOT = re.compile(r"(\S+) does not have a deterministic implementation")


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Give the context in which the network runs."""
    if config.amp == "none":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[config.amp])


def make_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """Give the scaler of gradients, which does nothing but for fp16."""
    return torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")


def warn_of_emulation(config: TrainConfig, device: torch.device) -> None:
    """Say before the first step that a CPU makes fp16 out of other arithmetic."""
    if config.amp == "fp16" and device.type == "cpu":
        say("train.amp=fp16 is slow on a CPU, which has no such arithmetic; train.amp=none is fast")


@contextmanager
def determinism(config: TrainConfig, device: torch.device) -> Iterator[set[str]]:
    """Ask torch for the same bits each time; gives the names of operations that cannot.

    The set is filled when the context ends. torch's switches are put back as they were.
    """
    unable: set[str] = set()
    if not config.deterministic:
        yield unable
        return
    # cuBLAS reads this when it starts; the value is one of the two that NVIDIA names.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode()
    benchmark = torch.backends.cudnn.benchmark
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=CANNOT.pattern)
        # The same switch as use_deterministic_algorithms, which besides loads the compiler: 2.5 s.
        torch.set_deterministic_debug_mode("warn")
        torch.backends.cudnn.benchmark = False
        # It costs time to fill memory that only a faulty operation would read.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield unable
        finally:
            torch.set_deterministic_debug_mode(before)
            torch.backends.cudnn.benchmark = benchmark
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
    for item in caught:
        found = CANNOT.search(str(item.message))
        if found:
            unable.add(found.group(1))
        else:
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)


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

    words = ("can't allocate memory", "not enough memory")
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


class Stepper:
    """Takes steps; owns the optimiser, the scaler and the size of micro-batches."""

    def __init__(
        self, objective: Objective, network: nn.Module, source: BatchSource, setting: FitSettings
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
        self, rows: NDArray[np.int64], epoch: int, rate: float, flags: Sequence[bool] = ()
    ) -> StepResult:
        """Move the weights by one global batch; nothing moves if the numbers are not finite."""
        own = distributed.share_of(rows, self.setting.world.rank, self.setting.world.size)
        sums = self._accumulate(own, epoch, len(rows))
        loss_sum, weight, *told = self._reduce(sums, flags)
        norm = self._scale(len(rows) / weight) if weight > 0 else 0.0
        if math.isfinite(loss_sum) and weight > 0:
            self._move(rate, norm)
        self.optimiser.zero_grad(set_to_none=True)
        return StepResult(loss_sum=loss_sum, weight=weight, norm=norm, flags=tuple(map(bool, told)))

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
            set_cells(self.network, seed=seed, epoch=epoch, rows=piece)
            batch = moved(self.source.batch(piece, DrawKey(seed=seed, epoch=epoch)), device)
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

    def _reduce(self, sums: list[float], flags: Sequence[bool]) -> list[float]:
        """Add gradients, sums and flags over ranks."""
        if self.setting.world.size == 1:
            return [*sums, *map(float, flags)]
        # A parameter without a gradient on all ranks stays without one, as on a single process.
        used = [parameter.grad is not None for parameter in self.parameters]
        told = torch.tensor([*sums, *flags, *used], dtype=torch.float64)
        values = distributed.all_reduce(told.to(self.setting.device)).tolist()
        used_somewhere = values[2 + len(flags) :]
        touched = [p for p, n in zip(self.parameters, used_somewhere, strict=True) if n]
        for parameter in touched:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce_many([p.grad for p in touched if p.grad is not None])
        return list(values[: 2 + len(flags)])

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
