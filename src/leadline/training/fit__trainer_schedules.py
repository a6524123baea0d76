"""Learning rates. Epochs count from 1."""

from __future__ import annotations

import math

from leadline.config import TrainConfig

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
