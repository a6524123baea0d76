"""Reads what wandb wrote to disk: a `run-<id>.wandb` file → config, history, summary.

The file is a header of 7 bytes, then blocks of 32 KiB as in LevelDB's log: each piece has a CRC-32
of its type and content, a length, and a type that says whether a message begins, goes on or ends
there. A message is a `Record` of wandb's own protocol. A writer that was killed leaves a torn end.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.errors import UserError
from leadline.runs.tracking.wandb import sdk


@dataclass(slots=True, kw_only=True)
class WandbRun:
    """One run as wandb knows it; `finished` says that its writer came to its end without an error.

    `history` holds one row a step, in the order of steps.
    """

    run_id: str
    project: str = ""
    entity: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    finished: bool = False
    source: str = ""


HEADER = struct.Struct("<4sHB")
START = (b":W&B", 0xBEE1)
PIECE = struct.Struct("<IHB")
BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def find_offline_runs(folder: Path) -> list[Path]:
    """Give every .wandb file below a folder, or the file itself, in the order of their making."""
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.wandb"))
    if not found:
        raise UserError(
            "a folder of wandb's offline runs holds files named run-*.wandb",
            got=f"{str(folder)!r} without one",
            remedy="name the folder wandb/ that wandb made, or one run in it",
        )
    return sorted(found, key=lambda path: path.parent.name)


def read(path: Path) -> WandbRun:
    """Read one file; what a killed writer left unfinished at its end is passed over."""
    protocol = sdk.protocol()
    run = WandbRun(run_id=path.stem.removeprefix("run-"), source=str(path))
    rows: dict[int, dict[str, Any]] = {}
    for message in messages(path):
        said = protocol.Record()
        said.ParseFromString(message)
        take_record(run, rows, said)
    run.history = [rows[step] for step in sorted(rows)]
    return run


def take_record(run: WandbRun, rows: dict[int, dict[str, Any]], said: Any) -> None:
    """Add what one message says."""
    kind = said.WhichOneof("record_type")
    if kind == "run":
        about = said.run
        run.run_id, run.project, run.entity = about.run_id, about.project, about.entity
        run.group, run.job_type = about.run_group, about.job_type
        run.name, run.tags = about.display_name, tuple(about.tags)
        change(run.config, about.config)
    elif kind == "config":
        change(run.config, said.config)
    elif kind == "summary":
        change(run.summary, said.summary)
    elif kind == "history":
        row = values(said.history.item)
        step = int(row.pop("_step", said.history.step.num))
        rows[step] = {**rows.get(step, {}), **row, "_step": step}
    elif kind == "artifact":
        run.artifacts.append(said.artifact.name)
    elif kind == "exit":
        run.finished = said.exit.exit_code == 0


def change(values_now: dict[str, Any], said: Any) -> None:
    """Apply updates and removals, of nested values too; what wandb keeps for itself is left out."""
    for item in said.update:
        *path, last = key_of(item)
        if [*path, last][0] != "_wandb":
            inside(values_now, path)[last] = json.loads(item.value_json)
    for item in said.remove:
        *path, last = key_of(item)
        inside(values_now, path).pop(last, None)


def inside(tree: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """Go down a path, making what is missing."""
    for key in path:
        below = tree.get(key)
        tree[key] = tree = below if isinstance(below, dict) else {}
    return tree


def values(items: Any) -> dict[str, Any]:
    """Read a row of history."""
    row: dict[str, Any] = {}
    for item in items:
        *path, last = key_of(item)
        inside(row, path)[last] = json.loads(item.value_json)
    return row


def key_of(item: Any) -> list[str]:
    """Give the path of a value."""
    return list(item.nested_key) or [item.key]


def messages(path: Path) -> Iterator[bytes]:
    """Give each whole message of a file."""
    content = path.read_bytes()
    if len(content) < HEADER.size or HEADER.unpack_from(content)[:2] != START:
        raise UserError(
            "a file of wandb's offline runs begins with :W&B",
            got=f"{str(path)!r}, which does not",
            remedy="name the folder wandb/ that wandb made, or one run in it",
        )
    message = b""
    for kind, piece in pieces(content):
        message = message + piece if kind in (MIDDLE, LAST) else piece
        if kind in (FULL, LAST):
            yield message


def pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Give each piece with its type, up to the first one that is not whole."""
    place = HEADER.size
    while True:
        left = BLOCK - place % BLOCK
        if left < PIECE.size:
            place += left
        if place + PIECE.size > len(content):
            return
        checksum, length, kind = PIECE.unpack_from(content, place)
        place += PIECE.size
        piece = content[place : place + length]
        if not FULL <= kind <= LAST or len(piece) < length:
            return
        if zlib.crc32(bytes([kind]) + piece) != checksum:
            return
        yield kind, piece
        place += length
