"""What a worker answers: `reply.json` and `out.npz`, believed only as far as they can be checked.

Sizes are looked at before anything is read, and arrays are read by their headers, so that no answer
takes more memory than the question allows. Shapes: N asked cells, W columns.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UserError, nearest

SCHEMA = 1
REPLY, OUT = "reply.json", "out.npz"
LARGEST_REPLY, WIDEST, LONGEST_NAME = 2**20, 65_536, 1024
KINDS = {
    "schema": int,
    "versions": dict,
    "weights": str,
    "loaded": int,
    "missing": list,
    "unexpected": list,
    "parameters": int,
    "genes_dropped": int,
    "cells_dropped": int,
    "corpus": str,
    "peak_memory_mib": (int, float),
    "seconds": (int, float),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer: numbers (N, W), none where only a fit was asked for, and what was said."""

    values_NW: NDArray[np.float32] | None
    facts: dict[str, Any] = field(default_factory=dict)


def refuse(rule: str, got: str, remedy: str) -> UserError:
    """Say what is wrong with an answer."""
    return UserError(f"a worker's answer: {rule}", got=got, remedy=remedy)


def largest_out(n_asked: int, width: int | None) -> int:
    """Give how many bytes out.npz may have: names, and numbers in float64."""
    return 2**16 + n_asked * (4 * LONGEST_NAME + 8 * (WIDEST if width is None else width))


def too_large(folder: Path, n_asked: int, width: int | None) -> str:
    """Say which file of a folder is larger than an answer may be; "" if none is."""
    for name, limit in ((REPLY, LARGEST_REPLY), (OUT, largest_out(n_asked, width))):
        path = folder / name
        if path.exists() and path.stat().st_size > limit:
            return f"{name} larger than the {limit:,} bytes that an answer can need"
    return ""


def read_reply(folder: Path) -> dict[str, Any]:
    """Read reply.json: one object, known keys, finite numbers."""
    content = bytes_of(folder / REPLY, LARGEST_REPLY)

    def not_json(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        said = json.loads(content.decode(), parse_constant=not_json)
    except (ValueError, RecursionError) as error:
        raise refuse(
            "reply.json must be JSON", str(error).splitlines()[0][:200], "use json.dump"
        ) from error
    if not isinstance(said, dict):
        raise refuse("reply.json holds one object", type(said).__name__, "write {…}")
    for key, value in said.items():
        if key not in KINDS:
            raise refuse("reply.json has known keys", repr(key)[:100], nearest(key, KINDS))
        if value is None and key != "schema":
            continue
        if not isinstance(value, KINDS[key]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise refuse(
                f"{key} in reply.json has a type", repr(value)[:100], "see docs/external.md"
            )
        if isinstance(value, (int, float)) and not abs(value) < 1e18:
            raise refuse("numbers in reply.json are finite", f"{key} = {value!r}"[:100], "mend it")
    if said.get("schema") != SCHEMA:
        raise refuse(
            f"the schema is {SCHEMA}",
            repr(said.get("schema")),
            "write a new worker with `leadline worker new NAME` and carry yours over",
        )
    return said


def read_answer(
    folder: Path, ids: NDArray[np.str_], key: str | None, width: int | None = None
) -> Answer:
    """Read and check an answer about these cells (or genes).

    `key` is the array that was asked for, `embedding` or `probabilities`; None after a fit, whose
    answer is reply.json alone. `width` is its number of columns, where that is known.
    """
    facts = read_reply(folder)
    if key is None:
        return Answer(None, facts)
    content = bytes_of(folder / OUT, largest_out(len(ids), width))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as held:
            names = held.namelist()
            if sorted(names) != sorted({"ids.npy", f"{key}.npy"}):
                raise refuse(
                    f"out.npz holds the arrays ids and {key}",
                    ", ".join(name.removesuffix(".npy") for name in names[:6])[:200] or "none",
                    f"write numpy.savez('out.npz', ids=…, {key}=…)",
                )
            named = member(held, "ids", (len(ids),), "U", ids)
            require_ids(named.astype(np.str_), ids)
            values = member(held, key, (len(ids), width), "f", ids)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        why = (str(error).splitlines() or ["cut off"])[0][:200]
        raise refuse("out.npz must be whole", why, "write it with numpy.savez") from error
    bad_N = ~np.isfinite(values).all(axis=1)
    with np.errstate(over="ignore"):
        values_NW = values.astype(np.float32)
    bad_N |= ~np.isfinite(values_NW).all(axis=1)
    if bad_N.any():
        raise refuse(
            f"{key} is finite",
            f"NaN or infinity in {bad_N.sum():,} of {len(ids):,} rows, of dtype {values.dtype}",
            "look for a division by 0, or for numbers too large for float16",
        )
    if key == "probabilities":
        values_NW = require_probabilities(values_NW)
    return Answer(values_NW, facts)


def bytes_of(path: Path, limit: int) -> bytes:
    """Read a file that an answer consists of, no more of it than it may have."""
    if path.is_symlink() or not path.is_file():
        raise refuse(
            f"{path.name} must be there when the worker exits with 0",
            "no such file",
            "write it, or exit with 99 where the question does not apply",
        )
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise refuse(
            f"{path.name} has at most {limit:,} bytes", "a larger file", "write only what is asked"
        )
    return content


def member(
    held: zipfile.ZipFile,
    name: str,
    shape: tuple[int | None, ...],
    kind: str,
    ids: NDArray[np.str_],
) -> NDArray[Any]:
    """Read one array of out.npz, after its header was found to be what was asked for."""
    with held.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise refuse("arrays are numpy's, format 1 or 2", f"{version}", "use numpy.savez")
        found, fortran, dtype = read(file)
        if dtype.kind not in kind:
            wanted = {"U": "text", "f": "floating-point numbers"}[kind]
            raise refuse(
                f"{name} are {wanted}", f"dtype {dtype}", "convert it, without objects or pickle"
            )
        fits = len(found) == len(shape) and all(
            asked in (None, size) for asked, size in zip(shape, found, strict=True)
        )
        if not fits or 0 in found or (len(found) > 1 and found[1] > WIDEST):
            asked = ", ".join("width" if size is None else str(size) for size in shape)
            raise refuse(
                f"{name} has the shape ({asked})", f"{found}", "one row for each asked cell"
            )
        if kind == "U" and dtype.itemsize > 4 * LONGEST_NAME:
            raise refuse(f"names are shorter than {LONGEST_NAME}", f"{dtype}", "copy them as asked")
        count = int(np.prod(found)) * dtype.itemsize
        content = file.read(count + 1)
    if len(content) != count:
        raise refuse(
            "out.npz must be whole", f"{len(content):,} bytes of {name}", "use numpy.savez"
        )
    flat = np.frombuffer(content, dtype=dtype)
    return flat.reshape(found, order="F" if fortran else "C")


def require_ids(named: NDArray[np.str_], ids: NDArray[np.str_]) -> None:
    """Refuse other names than those asked for, and another order."""
    if np.array_equal(named, ids):
        return
    values, counts = np.unique(named, return_counts=True)
    missing = np.setdiff1d(ids, values)
    if (counts > 1).any():
        got = f"{values[counts > 1][0][:80]!r} twice"
    elif len(missing):
        got = f"{len(missing):,} of {len(ids):,} missing, {missing[0][:80]!r} first"
    else:
        got = "the same names in another order"
    raise refuse("ids are those of the request, in its order", got, "copy them from the request")


def require_probabilities(values_NW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Refuse rows that are below 0 or do not add up to 1."""
    sum_N = values_NW.sum(axis=1, dtype=np.float64)
    bad_N = (values_NW < 0).any(axis=1) | (np.abs(sum_N - 1) > 5e-3)
    if bad_N.any():
        raise refuse(
            "probabilities are not below 0 and add up to 1",
            f"{bad_N.sum():,} of {len(values_NW):,} rows that break it",
            "put a softmax over the scores",
        )
    return np.asarray(values_NW / sum_N[:, None], dtype=np.float32)
