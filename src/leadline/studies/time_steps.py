"""Ten steps of a run, timed: `python -m leadline.studies.time_steps WORDS` prints one JSON object.

Two steps are timed as well, so that what a run costs whatever its length is told from what each
cell costs. Nothing is kept.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from leadline.config.compose import compose
from leadline.distributed import World
from leadline.processes import StopRequest
from leadline.runs import tracking
from leadline.runs.prepare import prepare
from leadline.runs.run import compute
from leadline.runs.tasks.base import Job

FEW, MANY = 2, 10
# What a baseline is given in the place of a step.
CELLS_OF_A_STEP = 50
PREDICTED = 3


def main(words: Sequence[str]) -> int:
    """Time a run's model on a few cells."""
    with tempfile.TemporaryDirectory() as folder:
        config = compose(words)
        config = replace(
            config,
            runs_dir=folder,
            train=replace(config.train, epochs=1, devices=1),
            tracker=compose([]).tracker,
        )
        job = prepare(config)
        # The first call pays for imports and compilation, which a warm worker pays once.
        seconds(job, FEW)
        few, many = seconds(job, FEW), seconds(job, MANY)
    step = job.config.train.batch_size if job.by_epochs else CELLS_OF_A_STEP
    per_cell = max(0.0, (many - few) / ((MANY - FEW) * step))
    told = {
        "fixed": max(0.0, few - per_cell * FEW * step),
        "per_cell": per_cell,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gpu_memory_mib": gpu_memory(),
    }
    print(json.dumps(told))
    return 0


def seconds(job: Job, steps: int) -> float:
    """Time a fit of so many steps and its predictions."""
    step = job.config.train.batch_size if job.by_epochs else CELLS_OF_A_STEP
    # In the order of the seed, so that a few cells hold most classes.
    order = np.random.default_rng(0).permutation(job.split.train)
    split = replace(
        job.split,
        train=np.resize(order, steps * step),
        val=job.split.val[:0],
        test=job.split.test[:PREDICTED],
        unlabelled=job.split.unlabelled[:0],
    )
    with tempfile.TemporaryDirectory() as folder:
        small = replace(job, named=replace(job.named, split=split, folder=Path(folder)))
        began = time.perf_counter()
        compute(small, World(), StopRequest(), tracking.Silent())
        return time.perf_counter() - began


def gpu_memory() -> float | None:
    """Give the peak memory of the GPU in MiB, if one was used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_allocated()) / 2**20


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
