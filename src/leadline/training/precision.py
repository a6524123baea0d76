"""How numbers are computed: mixed precision, the rounding of products, the same bits each time."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from leadline.config import TrainConfig
from leadline.progress import say

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# How torch names an operation that gives other bits each time: ours to find, or said by a kernel
# of attention. Both are said once a process unless it is told to repeat itself.
CANNOT = re.compile(
    r"(\S+) does not have a deterministic implementation"
    r"|(.+?) defaults to a non-deterministic algorithm"
)


def products(config: TrainConfig, device: torch.device) -> str:
    """Say how products of float32 are rounded: `exact`, `tf32` or `bf16`.

    A CPU has no tf32 and computes exactly instead.
    """
    if config.matmul == "bf16":
        return "bf16"
    rounded = config.matmul in ("auto", "tf32") and device.type == "cuda"
    return "tf32" if rounded else "exact"


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Give the context in which the network runs."""
    rounded = config.amp == "none" and products(config, device) == "bf16"
    if config.amp == "none" and not rounded:
        return nullcontext()
    return torch.autocast(device.type, DTYPES["bf16" if rounded else config.amp])


def make_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """Give the scaler of gradients, which does nothing but for fp16."""
    return torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")


def warn_of_emulation(config: TrainConfig, device: torch.device) -> None:
    """Say before the first step that a CPU makes fp16 out of other arithmetic."""
    if config.amp == "fp16" and device.type == "cpu":
        say("train.amp=fp16 is slow on a CPU, which has no such arithmetic; train.amp=none is fast")


@contextmanager
def numerics(config: TrainConfig, device: torch.device) -> Iterator[set[str]]:
    """Compute as the settings say; gives the names of operations that are not deterministic.

    torch's switches are put back as they were.
    """
    with rounding(config, device), determinism(config, device) as unable:
        yield unable


@contextmanager
def rounding(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Let a GPU round the factors of products of float32, or not."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    tf32 = products(config, device) == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def determinism(config: TrainConfig, device: torch.device) -> Iterator[set[str]]:
    """Ask torch for the same bits each time; gives the names of operations that cannot.

    The set is filled as they run. torch's switches are put back as they were.
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
    always = torch.is_warn_always_enabled()
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def note(message: Warning | str, *words: Any, **named: Any) -> None:
            if found := CANNOT.search(str(message)):
                unable.add(found.group(1) or found.group(2))
            else:
                shown(message, *words, **named)

        warnings.filterwarnings("always", message=f".*?(?:{CANNOT.pattern})")
        warnings.showwarning = note
        # The same switch as use_deterministic_algorithms, which besides loads the compiler: 2.5 s.
        torch.set_deterministic_debug_mode("warn")
        torch.backends.cudnn.benchmark = False
        # It costs time to fill memory that only a faulty operation would read.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        # A warm worker's second run must hear it too.
        torch.set_warn_always(device.type == "cuda" or always)
        try:
            yield unable
        finally:
            torch.set_deterministic_debug_mode(before)
            torch.backends.cudnn.benchmark = benchmark
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            torch.set_warn_always(always)
