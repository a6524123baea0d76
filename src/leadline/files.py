"""Files that are either whole or not there: written aside, flushed, renamed."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import struct
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UserError

TEMPORARY = ".partial-"
# What numpy and zipfile raise for a file that is no whole .npz of plain arrays.
NPZ_ERRORS = (
    *(OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, MemoryError),
    *(NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error),
)
# Deflate packs no further than 1,032 to 1.
MOST_PACKED = 1_100

# What an array in an .npz begins with.
MAGIC = b"\x93NUMPY\x01\x00"


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


def available_memory() -> int:
    """Give the bytes that this machine, or the group that we run in, still has to give."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text()
        found.append(int(text.partition("MemAvailable:")[2].split()[0]) << 10)
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())
        found.append(limit - int((group / "memory.current").read_text()))
    return max(0, min(found))


def check_sizes(members: Sequence[zipfile.ZipInfo]) -> None:
    """Compare what the members of a zip claim with what they take, and with memory.

    Raises
    ------
    ValueError
        When one claims more than so few bytes can hold, or all more than there is room for.
    """
    for member in members:
        if member.file_size > MOST_PACKED * max(member.compress_size, 1 << 10):
            raise ValueError(
                f"{member.filename} claims {member.file_size:,} bytes in {member.compress_size:,}"
            )
    total, room = sum(member.file_size for member in members), available_memory()
    if total > room:
        raise ValueError(f"its arrays take {total:,} bytes, of which memory has {room:,}")


def check_arrays(path: Path) -> None:
    """Compare what the arrays of an .npz claim to hold with the file, before any is made.

    Raises
    ------
    ValueError
        When one claims more than the file can hold, or all of them more than memory has room for.
    """
    with zipfile.ZipFile(path) as packed:
        members = packed.infolist()
        check_sizes(members)
        for member in members:
            with packed.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0
                if version != (1, 0):
                    read = np.lib.format.read_array_header_2_0
                shape, _, kind = read(file)
            claimed = math.prod(shape) * kind.itemsize
            if kind.hasobject:
                raise ValueError(f"{member.filename} holds objects, which need pickle")
            if claimed > member.file_size:
                raise ValueError(f"{member.filename} claims {shape} of {kind}, which it has not")


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz.

    Raises
    ------
    UserError
        When the file is missing, is none, is cut off, or holds objects that need pickle.
    """
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise UserError("the .npz must exist", got=str(path), remedy="look at the path") from error
    except NPZ_ERRORS as error:
        raise UserError(
            "an .npz must hold plain arrays and be whole",
            got=f"{str(path)!r} ({str(error).splitlines()[0] if str(error) else 'no .npz'})",
            remedy="write it again with numpy.savez",
        ) from error


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a small .npz, each by its name; objects that need pickle are refused.

    numpy reads the description of each array as Python; here equal descriptions are read once, for
    a report opens thousands of files.

    Raises
    ------
    OSError, ValueError, zipfile.BadZipFile
        As `numpy.load` does, when the file is missing, damaged, or no .npz.
    """
    found = {}
    with zipfile.ZipFile(path) as stored:
        members = stored.infolist()
        check_sizes(members)
        for member in members:
            found[member.filename.removesuffix(".npy")] = _array(stored, member)
    return found


def _array(stored: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    content = stored.read(member)
    if not content.startswith(MAGIC):
        with stored.open(member) as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    end = 10 + int.from_bytes(content[8:10], "little")
    shape, fortran, dtype = _header(content[:end])
    if dtype.hasobject:
        raise ValueError("objects cannot be loaded without pickle")
    return np.frombuffer(bytearray(content[end:]), dtype=dtype).reshape(
        shape, order="F" if fortran else "C"
    )


@lru_cache(maxsize=1024)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)
