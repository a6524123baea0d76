"""Arrays of small .npz files, read fast: a report opens thousands of them.

numpy reads the description of each array as Python; here equal descriptions are read once.
"""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline import files

MAGIC = b"\x93NUMPY\x01\x00"


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays, each by its name; objects that need pickle are refused.

    Raises
    ------
    OSError, ValueError, zipfile.BadZipFile
        As `numpy.load` does, when the file is missing, damaged, or no .npz.
    """
    found = {}
    with zipfile.ZipFile(path) as stored:
        members = stored.infolist()
        files.check_sizes(members)
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
