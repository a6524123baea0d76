"""How many CPU cores a process may use when others work beside it."""

from __future__ import annotations

import os

SHARE = "LEADLINE_CORES"


def available() -> int:
    """Count the cores for this process: its share, if a launcher gave it one."""
    share = os.environ.get(SHARE, "")
    return int(share) if share.isdigit() and int(share) > 0 else of_machine()


def of_machine() -> int:
    """Count the cores that the system lets this process use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_of(threads: int) -> dict[str, str]:
    """Give the environment in which a new process uses so many threads, libraries included."""
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: str(threads) for name in (SHARE, *libraries)}
