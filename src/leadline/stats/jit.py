"""Compiling a loop with numba, and where the result is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], fastmath: bool = False) -> Any:
    """Compile without the interpreter lock, cached on disk where the disk allows it."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # a read-only install without a home: compile anew in each process
        return njit(**options)(function)
