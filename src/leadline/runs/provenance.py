"""Where and with what a run was made, and what it cost."""

from __future__ import annotations

import os
import platform
import resource
import socket
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from leadline import __version__

PACKAGES = ("numpy", "scipy", "scikit-learn", "anndata", "h5py", "torch", "numba")


def provenance(*, device: str = "cpu", world_size: int = 1) -> dict[str, Any]:
    """Describe the code, the packages, the machine and what computed."""
    return {
        "leadline": __version__,
        **checkout(),
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cores": os.cpu_count(),
        "device": device,
        "world_size": world_size,
    }


@cache
def version(package: str) -> str | None:
    """Give a package's version without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def checkout() -> dict[str, Any]:
    """Give the git commit and whether files were changed; None outside a checkout.

    Asked once in a process: a warm worker runs the code that it started with.
    """
    top = Path(__file__).resolve().parents[3]
    if not (top / ".git").exists():
        return {"git_commit": None, "git_dirty": None}
    commit, changes = git(top, "rev-parse", "HEAD"), git(top, "status", "--porcelain")
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def git(top: Path, *words: str) -> str | None:
    """Ask git; None where it cannot answer."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(top), *words], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def cpu_seconds() -> float:
    """Give the CPU seconds of this process and of those it started that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


class Stopwatch:
    """Wall and CPU seconds since it was made, and the peak memory of the largest process."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), cpu_seconds()

    def cost(self) -> dict[str, Any]:
        """Give what was spent so far."""
        peak = max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        # Linux counts in KiB, macOS in bytes.
        peak_mib = peak / 1024 if sys.platform != "darwin" else peak / 1024**2
        return {
            "wall_seconds": round(time.perf_counter() - self.wall, 3),
            "cpu_seconds": round(cpu_seconds() - self.cpu, 3),
            "peak_memory_mib": round(peak_mib, 1),
        }
