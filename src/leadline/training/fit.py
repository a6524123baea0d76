"""Fitting a network: epochs of steps, a judgement after each, and no step lost to a kill."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from leadline import distributed
from leadline.config import TrainConfig
from leadline.models.network import BatchSource
from leadline.processes import Preempted
from leadline.progress import progress as bar
from leadline.training import checkpoint
from leadline.training import step as guards
from leadline.training.checkpoint import Progress
from leadline.training.evaluate import score
from leadline.training.objectives import Objective
from leadline.training.precision import warn_of_emulation
from leadline.training.settings import FitSettings
from leadline.training.step import Stepper


def order_of(n_cells: int, *, seed: int, epoch: int, order: str) -> NDArray[np.int64]:
    """Give the order, `shuffled` or `fixed`, of the cells in one epoch."""
    if order == "fixed":
        return np.arange(n_cells)
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    return stream.permutation(n_cells)


class DrawsWithReplacement:
    """Which cells scBERT's authors draw: each place of an epoch gets any cell, by chance.

    Python's generator, seeded by the run, serves the training cells of an epoch, then those that
    it is judged by, then the next epoch: their script's own stream.
    """

    def __init__(self, seed: int, n_train: int, n_selection: int) -> None:
        self.seed, self.sizes = seed, (n_train, n_selection)
        self.stream, self.epoch = random.Random(seed), 0
        self.drawn: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def of_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the training cells and the selection cells of an epoch, counted from 1."""
        if epoch < self.epoch:
            self.stream, self.epoch = random.Random(self.seed), 0
        while self.drawn is None or self.epoch < epoch:
            train, selection = (
                np.array([self.stream.randint(0, n - 1) for _ in range(n)], dtype=np.int64)
                for n in self.sizes
            )
            self.drawn, self.epoch = (train, selection), self.epoch + 1
        return self.drawn


def steps_of(n_cells: int, batch_size: int) -> int:
    """Count the global batches of an epoch; the last one may be smaller."""
    return -(-n_cells // batch_size)


def batch_of(order_C: NDArray[np.int64], step: int, batch_size: int) -> NDArray[np.int64]:
    """Give the cells of one global batch; steps count from 0."""
    return order_C[step * batch_size : (step + 1) * batch_size]


# scBERT's cosine with warm restarts, as both codes run it (spec/scbert.md).
FIRST_CYCLE, CYCLE_FACTOR, CYCLE_WARMUP, PEAK_DECAY = 15, 2, 5, 0.9
FLOOR_SHARE = 0.01


def rate_of_epoch(config: TrainConfig, epoch: int) -> float:
    """Give the learning rate of an epoch, warm-up aside."""
    match config.schedule:
        case "scbert_cosine_restarts":
            return cosine_restarts(config.lr, epoch)
        case "step":
            return float(config.lr * config.gamma ** (epoch - 1))
    return config.lr


def rate_of_step(config: TrainConfig, epoch: int, step: int, steps: int) -> float:
    """Give the learning rate of a step, counted from 0 in its epoch of `steps` steps."""
    rate = rate_of_epoch(config, epoch)
    rising = config.warmup_epochs * steps
    if rising <= 0:
        return rate
    return rate * min(1.0, ((epoch - 1) * steps + step + 1) / rising)


def cosine_restarts(peak: float, epoch: int) -> float:
    """Rise for 5 epochs, fall along a cosine to 1 % of the peak, restart longer and lower.

    Only the part after the rise grows: cycles last 15, 25, 45, … epochs. The floor does not sink
    with the peaks.
    """
    floor = peak * FLOOR_SHARE
    place, length = epoch - 1, FIRST_CYCLE
    while place >= length:
        place -= length
        length = (length - CYCLE_WARMUP) * CYCLE_FACTOR + CYCLE_WARMUP
        peak *= PEAK_DECAY
    if place < CYCLE_WARMUP:
        return floor + (peak - floor) * place / CYCLE_WARMUP
    angle = math.pi * (place - CYCLE_WARMUP) / (length - CYCLE_WARMUP)
    return floor + (peak - floor) * (1 + math.cos(angle)) / 2


# What is told while a fit is under way; epochs.csv holds every score.
SHOWN = ("selection_loss", "selection_accuracy", "selection_macro_f1")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitLoopResult:
    """What came of a fit; the network holds the weights of `best_epoch`.

    Attributes
    ----------
    best_epoch
        The epoch with the best selection score, the earliest among equals; without a selection
        set the last one.
    block
        How many cells the device held at a time in the end.
    skipped
        Steps that fp16's scaler left out.
    """

    rows: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool
    block: int
    skipped: int
    seconds: float
    resumed: int
    warnings: list[str]


class FitLoop:
    """One fit in the making."""

    def __init__(
        self,
        objective: Objective,
        network: nn.Module,
        train: BatchSource,
        selection: BatchSource | None,
        setting: FitSettings,
        *,
        ids: NDArray[np.str_],
        before_step: Callable[[nn.Module, int], None] | None = None,
    ) -> None:
        self.objective, self.network, self.setting = objective, network, setting
        self.train, self.selection, self.ids = train, selection, ids
        self.before_step = before_step
        self.stepper = Stepper(objective, network, train, setting)
        self.steps = steps_of(len(train), setting.train.batch_size)
        self.draws: DrawsWithReplacement | None = None
        if setting.order == "replacement":
            n_selection = 0 if selection is None else len(selection)
            self.draws = DrawsWithReplacement(setting.seed, len(train), n_selection)
        self.progress = Progress()
        self.taken = 0
        self.began = self.saved = self.began_training = time.monotonic()

    def run(self) -> FitLoopResult:
        """Train to the end, going on where an earlier attempt was stopped."""
        if self.setting.world.leads:
            warn_of_emulation(self.setting.train, self.setting.device)
        self.progress = checkpoint.restore(self.stepper, self.setting)
        # A kill may have come between a checkpoint and the tracker, which tells nothing twice.
        for row in self.progress.rows:
            self.track(row)
        self.began = self.saved = self.began_training = time.monotonic()
        with self.setting.notice.finish_step_first():
            while not self.over():
                self.one_epoch()
                self.judge()
                self.save()
        self.take_best()
        progress = self.progress
        return FitLoopResult(
            rows=progress.rows,
            best_epoch=progress.best_epoch,
            stopped_early=len(progress.rows) < self.setting.train.epochs,
            # Ranks that ran out of memory hold fewer cells; from here on all must agree.
            block=min(distributed.all_gather_objects(self.stepper.micro, self.setting.world)),
            skipped=self.stepper.skipped,
            seconds=progress.seconds + time.monotonic() - self.began,
            resumed=progress.resumed,
            warnings=progress.warnings,
        )

    def over(self) -> bool:
        """Say whether all epochs are done, or patience has run out."""
        done, train = len(self.progress.rows), self.setting.train
        waited = done - self.progress.best_epoch
        impatient = self.selection is not None and 0 < train.patience <= waited
        return done >= train.epochs or impatient

    def one_epoch(self) -> None:
        """Take the steps of this epoch that are not taken yet."""
        progress, train = self.progress, self.setting.train
        if self.draws is not None:
            order_C, _ = self.draws.of_epoch(progress.epoch)
        else:
            order_C = order_of(
                len(self.train),
                seed=self.setting.seed,
                epoch=progress.epoch,
                order=self.setting.order,
            )
        self.network.train()
        what = f"epoch {progress.epoch} of {train.epochs}"
        with bar(what, len(order_C), shown=self.setting.world.leads) as advance:
            advance(progress.step * train.batch_size)
            while progress.step < self.steps:
                rows = batch_of(order_C, progress.step, train.batch_size)
                self.one_step(rows)
                advance(len(rows), f"loss {progress.mean_loss():.4f}")

    def one_step(self, rows: NDArray[np.int64]) -> None:
        """Take a step, check its numbers, and stop or save if any rank asks for it."""
        progress, setting = self.progress, self.setting
        if self.before_step is not None:
            self.before_step(self.network, (progress.epoch - 1) * self.steps + progress.step + 1)
        rate = rate_of_step(setting.train, progress.epoch, progress.step, self.steps)
        minutes = (time.monotonic() - self.saved) / 60
        due = setting.world.leads and minutes >= setting.train.checkpoint_minutes
        taken = self.stepper.take(rows, progress.epoch, rate, (setting.notice.requested, due))
        guards.check_finite(
            taken.loss_sum,
            0.0 if self.stepper.may_overflow() else taken.norm,
            epoch=progress.epoch,
            step=progress.step,
            ids=self.ids[rows],
            last_good=len(progress.rows),
        )
        progress.loss_sum += taken.loss_sum
        progress.weight += taken.weight
        progress.step += 1
        self.taken += len(rows)
        stop, save = taken.flags
        if stop or save:
            self.save()
        if stop:
            raise Preempted

    def judge(self) -> None:
        """Close the epoch: measure, remember the best weights, tell."""
        progress, setting = self.progress, self.setting
        row = {
            "epoch": progress.epoch,
            "lr": rate_of_epoch(setting.train, progress.epoch),
            "train_loss": progress.mean_loss(),
        }
        if self.selection is not None:
            block = max(self.stepper.micro, 1)
            rows = None if self.draws is None else self.draws.of_epoch(progress.epoch)[1]
            found = score(self.objective, self.network, self.selection, setting, block, rows)
            # Plain numbers: a checkpoint lets nothing else in.
            row |= {f"selection_{name}": np.asarray(x).item() for name, x in found.items()}
        progress.rows.append(row)
        better = self.is_better(row)
        if better:
            checkpoint.save_best(self.network, progress.epoch, setting)
            progress.best_epoch = progress.epoch
        explosion = guards.exploded([r["train_loss"] for r in progress.rows])
        progress.warnings += [explosion] if explosion else []
        pace = self.pace(setting.train.epochs - progress.epoch)
        mark = " (best so far)" if better and self.selection is not None else ""
        setting.tell(line(row, setting.train.epochs) + mark + pace)
        self.track(row)
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.loss_sum = progress.weight = 0.0

    def track(self, row: dict[str, float]) -> None:
        """Tell the tracker what an epoch gave."""
        values = {name: value for name, value in row.items() if name != "epoch"}
        self.setting.track(int(row["epoch"]), values)

    def pace(self, epochs_left: int) -> str:
        """Tell how fast this attempt goes, and how long it still takes."""
        rate = self.taken / max(time.monotonic() - self.began_training, 1e-9)
        left = epochs_left * len(self.train) / max(rate, 1e-9)
        return f"; {rate:,.0f} cells/s, {left:,.0f} s left"

    def is_better(self, row: dict[str, float]) -> bool:
        """Say whether this epoch beats the best so far; an equal one does not."""
        if self.selection is None:
            return len(self.progress.rows) == self.setting.train.epochs
        by = self.setting.select_by
        value = -row["selection_loss"] if by == "loss" else row[f"selection_{by}"]
        better = self.progress.best_epoch == 0 or value > self.progress.best_value
        if better:
            self.progress.best_value = value
        return better

    def save(self) -> None:
        """Write a checkpoint."""
        now = time.monotonic()
        self.progress.seconds, self.began = self.progress.seconds + now - self.began, now
        checkpoint.save(self.stepper, self.progress, self.setting)
        self.saved = time.monotonic()

    def take_best(self) -> None:
        """Put the weights of the best epoch into the network."""
        if self.progress.best_epoch == len(self.progress.rows):
            return
        if self.setting.world.leads:
            stored = checkpoint.read(checkpoint.best_name(self.progress.best_epoch), self.setting)
            assert stored is not None
            self.network.load_state_dict(stored["network"])
        distributed.broadcast(list(self.network.state_dict().values()))


def line(row: dict[str, Any], epochs: int) -> str:
    """Tell an epoch in one line."""
    words = [f"epoch {row['epoch']} of {epochs}: loss {row['train_loss']:.4f}"]
    for name in SHOWN:
        if name in row:
            words.append(f"{name.replace('_', ' ')} {row[name]:.4f}")
    return ", ".join(words)
