"""How much a file of cells may ask for: links inside it, sizes that it holds, texts of a length.

A file claims sizes before it shows values. Claims are compared with the bytes that are there and
with memory before anything is made of them. What a library raises on the way is the file's fault;
what our own code raises is ours, and stays a traceback.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py

from leadline.errors import UserError
from leadline.files import available_memory

# Names and labels are short; a longer text is not one.
MOST_LETTERS = 10_000
# Smaller claims do no harm, whatever they are made of.
FREE_BYTES = 64 << 20
# Tables and sparse matrices pack less than a hundredfold.
MOST_PACKED = 250
# One chunk is unpacked at once, however little is read of it.
MOST_CHUNK = 1 << 30
MOST_OBJECTS, MOST_DEPTH = 50_000, 32
# Parts of a file that are never read; of `uns` only the categories of old files are.
UNREAD = ("obsp", "varp", "varm", "uns")
OWN_CODE = str(Path(__file__).parents[2])


def damaged(path: Path, place: str, why: str) -> UserError:
    """Say that what lies at a place of a file cannot be read."""
    return UserError(
        "data.path must name a file that is whole",
        got=f"{path.name}, where {place} {why}",
        remedy="copy or download it again, or write it again with adata.write_h5ad()",
    )


@contextlib.contextmanager
def faults_of_the_file(path: Path) -> Iterator[None]:
    """Turn what a library raises inside this block into one line about the file."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise damaged(path, "a part", "needs more memory than there is") from error
    except Exception as error:
        if is_ours(error):
            raise
        notes = " ".join(str(note) for note in getattr(error, "__notes__", ()))
        # anndata says in a note which part it was at.
        part = re.search(r"reading key '([^']+)' .*from (/\S*)", notes)
        place = "a part" if part is None else f"{part[2].rstrip('/')}/{part[1]}".lstrip("/")
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise damaged(path, place, f"cannot be read ({said})") from error


def is_ours(error: BaseException) -> bool:
    """Say whether an exception was raised by a line of leadline, and not by a library below it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(OWN_CODE)


def check_file(file: h5py.File, path: Path) -> None:
    """Refuse links that lead nowhere, out of the file or in a circle, and sizes that are not there.

    Raises
    ------
    UserError
        With the place inside the file.
    """
    size = path.stat().st_size
    seen = 0
    address = h5py.h5o.get_info(file.id).addr
    stack: list[tuple[h5py.Group, str, tuple[int, ...]]] = [(file, "", (address,))]
    while stack:
        group, place, above = stack.pop()
        for name in group:
            if not place and name in UNREAD:
                continue
            seen += 1
            where = f"{place}/{name}".removeprefix("/")
            node = followed(group, name, where, path)
            if seen > MOST_OBJECTS:
                raise damaged(path, "its tree", f"has more than {MOST_OBJECTS:,} parts")
            if isinstance(node, h5py.Dataset):
                check_dataset(node, where, path, size)
            elif isinstance(node, h5py.Group):
                own = h5py.h5o.get_info(node.id).addr
                if own in above or len(above) > MOST_DEPTH:
                    raise damaged(path, where, "is a link in a circle")
                stack.append((node, where, (*above, own)))


def followed(group: h5py.Group, name: str, where: str, path: Path) -> object:
    """Give what lies at a name, unless it is a link out of the file or to nothing."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise damaged(path, where, f"is a link into another file ({link.filename[:60]})")
    try:
        return group[name]
    except (KeyError, OSError, RuntimeError) as error:
        what = "is a link to nothing" if isinstance(link, h5py.SoftLink) else "cannot be opened"
        raise damaged(path, where, what) from error


def check_dataset(values: h5py.Dataset, where: str, path: Path, file_size: int) -> None:
    """Compare the size that an array claims with the bytes that it has."""
    if values.is_virtual or values.external:
        raise damaged(path, where, "has its values in another file")
    if values.shape is None:
        return
    claimed = values.size * values.dtype.itemsize
    held = values.id.get_storage_size()
    if held > file_size:
        raise damaged(path, where, f"claims {held:,} bytes of a file of {file_size:,}")
    if claimed > max(FREE_BYTES, MOST_PACKED * held):
        raise damaged(path, where, f"claims {values.shape}, of which {held:,} bytes are there")
    if values.chunks is not None:
        chunk = values.dtype.itemsize
        for length in values.chunks:
            chunk *= length
        if chunk > max(FREE_BYTES, min(MOST_CHUNK, MOST_PACKED * held)):
            raise damaged(path, where, f"lies in chunks of {chunk:,} bytes")


def check_room(path_or_place: str, needed: int) -> None:
    """Refuse what does not fit into memory, before any of it is read."""
    room = available_memory()
    if needed > room:
        raise UserError(
            "cells must fit into memory",
            got=f"{path_or_place}, which takes {needed / 2**30:,.1f} GiB of {room / 2**30:,.1f}",
            remedy="use a machine with more memory, or a file with fewer cells",
        )


def check_lengths(texts: Iterable[object], where: str) -> None:
    """Refuse names and labels that are none: arrays are as wide as the longest."""
    longest = max((len(str(text)) for text in texts), default=0)
    if longest > MOST_LETTERS:
        raise UserError(
            f"names and labels may have {MOST_LETTERS:,} letters",
            got=f"one of {longest:,} in {where}",
            remedy="shorten it and save the file again",
        )
