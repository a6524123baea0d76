"""Tokens on disk, made once and then mapped into the memory of every process that reads them.

A set of arrays lies in a folder of its own, named by the digest of its key: one .npy file each and
a table of contents, written last. The first process makes them under a lock; others wait for it,
and go on by themselves if it dies.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from leadline import files, locks
from leadline.progress import say

Arrays = dict[str, NDArray[Any]]

CONTENTS = "CONTENTS"
POLL_SECONDS = 0.1
# The lock on disk keeps processes apart, not the threads of one.
ONE_THREAD = threading.Lock()
# A store that cannot be written to is a pity, not a failure.
UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT})


def arrays(folder: Path, key: str, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
    """Give the arrays of a key, read-only; `make` is called where nobody made them before.

    The key must name everything that decides their content: data, rows, settings, and a version
    of the code. Where the folder cannot be written to, the arrays are made anew each time.
    """
    place = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
    with ONE_THREAD, contextlib.ExitStack() as stack:
        found, ours = read(place, key), False
        while found is None and not ours:
            try:
                place.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locks.hold(place))
                ours = True
            except locks.Busy:
                time.sleep(POLL_SECONDS)
            except OSError as error:
                if error.errno not in UNWRITABLE:
                    raise
                break
            # Another process may have made them while this one came to hold the lock.
            found = read(place, key)
        if found is not None:
            return found
        made = {name: np.ascontiguousarray(array) for name, array in make().items()}
        return kept(place, key, made) if ours else sealed(made)


def kept(place: Path, key: str, made: Arrays) -> Arrays:
    """Write arrays, or give them as they are where there is no room for them."""
    try:
        write(place, key, made)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        say(f"tokens are not kept: {place} cannot be written to ({error.strerror})")
        files.sweep(place)
        return sealed(made)
    found = read(place, key)
    return sealed(made) if found is None else found


def write(place: Path, key: str, made: Arrays) -> None:
    """Write arrays, then the table of contents; only for the holder of the lock."""
    files.sweep(place)
    with contextlib.suppress(FileNotFoundError):
        (place / CONTENTS).unlink()
    for name, array in made.items():

        def fill(file: BinaryIO, array: NDArray[Any] = array) -> None:
            np.lib.format.write_array(file, array, allow_pickle=False)

        files.write_with(place / f"{name}.npy", fill)
    sizes = {name: (place / f"{name}.npy").stat().st_size for name in made}
    files.write_json(place / CONTENTS, {"key": key, "bytes": sizes})


def read(place: Path, key: str) -> Arrays | None:
    """Map what was made; None where it is not there, or not whole."""
    try:
        contents = json.loads((place / CONTENTS).read_text())
        if contents["key"] != key:
            return None
        found = {}
        for name, size in contents["bytes"].items():
            path = place / f"{name}.npy"
            if path.stat().st_size != size:
                return None
            # As a plain array: cutting rows out of numpy's own class for maps is slow.
            found[name] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return found


def sealed(made: Arrays) -> Arrays:
    """Let nobody write into arrays that the next run may be given too."""
    for array in made.values():
        array.flags.writeable = False
    return made


def digest(words: Iterable[str], *arrays: NDArray[Any]) -> str:
    """Give a digest of words and of the bytes of arrays; where in memory they lie is no matter."""
    hashed = hashlib.blake2b("\x1f".join(words).encode(), digest_size=16)
    for array in arrays:
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()
