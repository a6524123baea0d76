"""What of a record has been given to wandb, and where; kept beside the record, never sealed.

<record>/wandb/ leadline.json, offline-run-*/ (for `wandb sync`), data/ (files that wait).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from leadline import files

FOLDER, NAME, WAITING = "wandb", "leadline.json", "data"


def read(folder: Path) -> dict[str, Any]:
    """Read the marks of a record.

    `offline` names a folder and `said` sums up what it holds; `synced` maps where → address.
    """
    try:
        content = json.loads((folder / FOLDER / NAME).read_text())
    except (FileNotFoundError, ValueError):
        content = {}
    return {"offline": None, "said": "", "synced": {}, **content}


def write(folder: Path, marks: dict[str, Any]) -> None:
    """Store the marks."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    files.write_json(folder / FOLDER / NAME, marks)


def mark_offline(folder: Path, name: str, said: str = "") -> None:
    """Note that an offline folder holds the whole record."""
    write(folder, read(folder) | {"offline": name, "said": said})


def mark_synced(folder: Path, where: str, address: str) -> None:
    """Note that a server has the whole record, and remove what was kept until it did.

    An offline folder stays, with the mark by which `wandb sync` knows that it need not upload it.
    """
    marks = read(folder)
    marks["synced"][where] = address
    write(folder, marks)
    clear(folder, what="run-*")
    if not marks["offline"]:
        clear(folder, what=WAITING)
        return
    for path in (folder / FOLDER / marks["offline"]).glob("*.wandb"):
        path.with_name(path.name + ".synced").touch()


def clear(folder: Path, *, what: str) -> None:
    """Remove what an attempt left that did not come to its end."""
    for path in (folder / FOLDER).glob(what):
        shutil.rmtree(path, ignore_errors=True)


def waiting(folder: Path) -> Path:
    """Give the place of files that are to be uploaded."""
    place = folder / FOLDER / WAITING
    place.mkdir(parents=True, exist_ok=True)
    return place
