"""Places on this machine: the cores and GPUs of which each warm process has its share.

No two places share a GPU unless a share of one is asked for. A run of several ranks takes as
many places as it needs for a GPU, or a core, for each rank.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from leadline import processes
from leadline.config import LocalLauncher
from leadline.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Where Linux shows GPUs of NVIDIA, those of Windows, and those of AMD.
DEVICE_FILES = ("nvidia[0-9]*", "dxg", "kfd")


@dataclass(frozen=True, slots=True)
class Place:
    """What one process may use; no GPUs where the machine has none."""

    threads: int
    gpus: tuple[str, ...] = ()


def places_of(config: LocalLauncher) -> list[Place]:
    """Divide this machine among processes as its settings say.

    Raises
    ------
    UserError
        When two processes would share a GPU though nobody asked for it, or there are too few.
    """
    names = visible_gpus()
    if config.gpus:
        groups = shares(names, config.gpus)
    elif names:
        jobs = len(names) if config.n_jobs == -1 else min(config.n_jobs, len(names))
        groups = [names[len(names) * k // jobs : len(names) * (k + 1) // jobs] for k in range(jobs)]
    else:
        groups = [()] * (processes.of_machine() if config.n_jobs == -1 else config.n_jobs)
    count = len(groups) if config.n_jobs == -1 else config.n_jobs
    if count > len(groups):
        raise UserError(
            "each process needs GPUs of its own",
            got=f"n_jobs={count} with {config.gpus or 1:g} each, and GPUs for {len(groups)}",
            remedy="lower hydra.launcher.n_jobs; or share GPUs with hydra.launcher.gpus=0.5, or "
            f"compute on CPUs alone with {VISIBLE}= before the command",
        )
    threads = config.threads or max(1, processes.of_machine() // count)
    return [Place(threads, group) for group in groups[:count]]


def visible_gpus() -> tuple[str, ...]:
    """Name the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    told = os.environ.get(VISIBLE)
    if told is None:
        # torch takes seconds to load, and most machines that need no GPU show none.
        if not any(any(Path("/dev").glob(pattern)) for pattern in DEVICE_FILES):
            return ()
        import torch

        return tuple(map(str, range(torch.cuda.device_count())))
    names = [name.strip() for name in told.split(",")]
    # CUDA takes no notice of what follows a name that means nothing, such as -1.
    end = next((at for at, name in enumerate(names) if not name or name[0] == "-"), len(names))
    return tuple(names[:end])


def shares(names: Sequence[str], each: float) -> list[tuple[str, ...]]:
    """Cut GPUs into groups of so many; or a GPU into shares, the first of each GPU first."""
    if len(names) < each:
        raise UserError(
            f"hydra.launcher.gpus={each:g} needs as many GPUs on this machine",
            got=f"{len(names)} of them",
            remedy="leave hydra.launcher.gpus at 0, or choose another machine",
        )
    if each < 1:
        return [(name,) for _ in range(int(1 / each + 1e-9)) for name in names]
    size = int(each)
    return [tuple(names[k : k + size]) for k in range(0, len(names) - size + 1, size)]


def choose_places(
    places: Sequence[Place], free: Sequence[int], ranks: int
) -> tuple[int, ...] | None:
    """Choose free places for a run of so many ranks, or None if it must wait.

    A run that needs more than there is takes all: it finds out itself what it lacks.
    """
    needed = math.ceil(ranks / max(1, min(len(place.gpus) for place in places)))
    most = len(of_different_gpus(places, range(len(places))))
    chosen = of_different_gpus(places, free)[: min(needed, most)]
    return tuple(chosen) if len(chosen) == min(needed, most) else None


def of_different_gpus(places: Sequence[Place], among: Sequence[int]) -> list[int]:
    """Leave out places whose GPU an earlier one has: ranks of a run never share one."""
    found: list[int] = []
    taken: set[str] = set()
    for place in among:
        if taken.isdisjoint(places[place].gpus):
            found.append(place)
            taken.update(places[place].gpus)
    return found


def environment(places: Sequence[Place]) -> dict[str, str]:
    """Give the environment of a process that has these places."""
    threads = sum(place.threads for place in places)
    told = {**processes.share_of(places[0].threads), processes.SHARE: str(threads)}
    gpus = list(chain.from_iterable(place.gpus for place in places))
    return told | ({VISIBLE: ",".join(gpus)} if gpus else {})
