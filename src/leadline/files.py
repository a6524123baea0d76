"""Files that are either whole or not there: written aside, flushed, renamed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UserError

TEMPORARY = ".partial-"


def write_bytes(path: Path, content: bytes) -> None:
    """Put content at path; whoever is killed meanwhile leaves the old file or none."""

    def fill(file: BinaryIO) -> None:
        file.write(content)

    write_with(path, fill)


def write_with(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Put at path what `fill` writes; for content too large to be held a second time."""
    aside = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with open(aside, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, content: str) -> None:
    """Put UTF-8 text at path."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Put JSON at path; NaN and infinity are refused, since other readers would choke on them."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put an npz file at path; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    # numpy stamps every member with the same fixed date, so the bytes depend on content alone.
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    write_bytes(path, buffer.getvalue())


def sweep(folder: Path) -> None:
    """Remove what killed writers left aside; only for the holder of the folder's lock."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            leftover.unlink()


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz.

    Raises
    ------
    UserError
        When the file is missing, is none, is cut off, or holds objects that need pickle.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise UserError("the .npz must exist", got=str(path), remedy="look at the path") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            "an .npz must hold plain arrays and be whole",
            got=f"{str(path)!r} ({str(error).splitlines()[0] if str(error) else 'no .npz'})",
            remedy="write it again with numpy.savez",
        ) from error
