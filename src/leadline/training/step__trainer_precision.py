"""Mixed precision and determinism: what torch is told, and what it cannot promise."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from leadline.config import TrainConfig
from leadline.progress import say

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
