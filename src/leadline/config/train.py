"""How a model that learns by epochs is fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leadline.config.checks import added_later, choice, operational, within
from leadline.errors import UserError

TRAIN_CHOICES = {
    "optimiser": ("adam", "adamw"),
    "schedule": ("constant", "scbert_cosine_restarts", "step"),
    "amp": ("none", "bf16", "fp16"),
    "matmul": ("auto", "exact", "tf32", "bf16"),
    "device": ("auto", "cpu", "cuda"),
    "freeze": ("none", "paper", "original", "all_but_head", "paper_pre_decoder", "transformer_too"),
}


@dataclass(slots=True, kw_only=True)
class TrainConfig:
    """How a model is fitted; `docs/trainer.md` tells what each setting does.

    Models without epochs read nothing but `threads`, so none of it enters their identity.
    `batch_size` is that of all devices together; `micro_batch` is what one device holds at a time.
    """

    epochs: int = 20
    batch_size: int = 32
    optimiser: str = "adam"
    lr: float = 1e-3
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "constant"
    gamma: float = 0.9
    warmup_epochs: float = 0.0
    clip: float | None = 1.0
    amp: str = "none"
    patience: int = 0
    freeze: str = "none"
    # Science only for scBERT, where it becomes part of the model.
    redraw_every: int = added_later(1000, is_operational=True)
    matmul: str = added_later("auto", is_operational=True)
    deterministic: bool = operational(True)
    devices: int = operational(1)
    device: str = operational("auto")
    threads: int = operational(0)
    micro_batch: str = operational("auto")
    checkpoint_minutes: float = operational(15.0)
    keep_best: bool = operational(True)
    save_embeddings: bool = operational(False)
    compile: bool = operational(False)
    activation_checkpointing: bool = operational(False)

    def __post_init__(self) -> None:
        for key, known in TRAIN_CHOICES.items():
            choice(f"train.{key}", getattr(self, key), known)
        within("train.epochs", self.epochs, 1, 100_000)
        within("train.batch_size", self.batch_size, 1, 1e6)
        within("train.lr", self.lr, 0, 10, open_low=True)
        within("train.eps", self.eps, 0, 1, open_low=True)
        within("train.weight_decay", self.weight_decay, 0, 1)
        within("train.gamma", self.gamma, 0, 1, open_low=True)
        within("train.warmup_epochs", self.warmup_epochs, 0, 100_000)
        if self.clip is not None:
            within("train.clip", self.clip, 0, math.inf, open_low=True)
        within("train.redraw_every", self.redraw_every, 0, 1e9)
        within("train.patience", self.patience, 0, 100_000)
        within("train.devices", self.devices, 1, 1024)
        within("train.threads", self.threads, 0, 1024)
        within("train.checkpoint_minutes", self.checkpoint_minutes, 0, 1e6, open_low=True)
        whole = self.micro_batch.isascii() and self.micro_batch.isdigit()
        if self.micro_batch != "auto" and not (whole and int(self.micro_batch) > 0):
            raise UserError(
                "train.micro_batch must be auto or a whole number above 0",
                got=repr(self.micro_batch),
                remedy="leave it at auto, or say how many cells fit on one device",
            )
