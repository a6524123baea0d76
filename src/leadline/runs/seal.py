"""What makes a record finished: DONE with the digests of its files, and a record.json that holds.

Records lie on disks that fill up, lose bits and are copied by hand. What is said here of a damaged
one is a reason in plain words; nothing is raised, so that the others can go on being read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline import locks
from leadline.files import TEMPORARY

CONFIG, FACTS, EPOCHS = "config.yaml", "record.json", "epochs.csv"
PREDICTIONS, LOG, DONE, FAILED = "predictions.npz", "log.txt", "DONE", "FAILED"
# The largest that we write is some hundred kilobytes.
MOST_BYTES = 64 << 20
HEX_DIGITS = 64
NUMBER = (int, float)
# What a record says, and of which kind; a dotted key stands inside another.
KINDS: dict[str, tuple[type, ...]] = {
    "run_id": (str,),
    "model": (str,),
    "arm": (str,),
    "dataset": (str,),
    "task": (str,),
    "study": (str, type(None)),
    "seed": (int,),
    "fraction": NUMBER,
    "metrics": (dict,),
    "warnings": (list,),
    "data": (dict,),
    "data.classes": (list,),
    "data.fingerprint": (str,),
    "data.cells": (int,),
    "data.genes": (int,),
    "data.notes": (list,),
    "split": (dict,),
    "split.cells": (dict,),
    "protocol": (dict,),
    "protocol.name": (str,),
    "selected": (dict,),
    "fit": (dict,),
    "per_class": (dict,),
    "provenance": (dict,),
    "provenance.packages": (dict,),
    "cost": (dict,),
    "cost.wall_seconds": NUMBER,
    "cost.cpu_seconds": NUMBER,
    "cost.peak_memory_mib": NUMBER,
}
NEEDED = ("run_id", "metrics")


def broken_seal(folder: Path) -> str:
    """Say why DONE does not seal the record beside it, or "" if it does.

    Reads DONE and record.json alone, which is quick enough for thousands of runs.
    """
    try:
        sealed = read_seal(folder)
        missing = [name for name in sealed if not (folder / name).is_file()]
        if missing:
            return f"{', '.join(missing)} is missing"
        content = read_small(folder / FACTS)
        if hashlib.sha256(content).hexdigest() != sealed[FACTS]:
            return f"{FACTS} is not the file that was sealed"
        return implausible(json.loads(content))
    except (OSError, ValueError, RecursionError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_seal(folder: Path) -> dict[str, str]:
    """Read the digests of DONE.

    Raises
    ------
    ValueError, OSError
        When it is not what leadline writes.
    """
    try:
        said = json.loads(read_small(folder / DONE))
    except ValueError as error:
        raise ValueError(f"{DONE} holds no digests ({error})") from error
    sealed = said.get("sha256") if isinstance(said, dict) else None
    if not isinstance(sealed, dict) or FACTS not in sealed:
        raise ValueError(f"{DONE} holds no digest of {FACTS}")
    for name, digest in sealed.items():
        if not isinstance(digest, str) or len(digest) != HEX_DIGITS or "/" in name or "\0" in name:
            raise ValueError(f"{DONE} holds no digest of {name!r}")
    return sealed


def read_small(path: Path) -> bytes:
    """Read a file that must be a small one, and no folder or pipe."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path.name} is no file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {found.st_size:,} bytes, more than any record")
    return path.read_bytes()


def implausible(facts: Any) -> str:
    """Say what in the contents of a record.json no run can have written, or ""."""
    if not isinstance(facts, dict):
        return f"{FACTS} holds no mapping"
    for key, kinds in KINDS.items():
        value = inside(facts, key)
        if value is MISSING:
            if key in NEEDED:
                return f"{FACTS} lacks {key}"
            continue
        wrong = isinstance(value, bool) or not isinstance(value, kinds)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            return f"{key} in {FACTS} is {str(value)[:40]!r}"
    if bad := [text for text in facts.get("warnings", []) if not isinstance(text, str)]:
        return f"a warning in {FACTS} is {bad[0]!r:.40}"
    return wrong_scores(facts["metrics"]) or wrong_counts(facts)


class Missing:
    """Stands for a key that is not there, where None is a value."""


MISSING = Missing()


def inside(facts: Mapping[str, Any], key: str) -> Any:
    """Give what stands at a dotted key, or MISSING."""
    value: Any = facts
    for word in key.split("."):
        if not isinstance(value, dict) or word not in value:
            return MISSING
        value = value[word]
    return value


def wrong_scores(parts: Mapping[str, Any]) -> str:
    """Say which score is none: no number, or outside what its metric can be."""
    # Brings scipy along, which those need not wait for who look at runs that are not finished.
    from leadline.stats import metrics

    if not any(isinstance(scores, dict) and scores for scores in parts.values()):
        return f"metrics in {FACTS} hold no score"
    for part, scores in parts.items():
        if not isinstance(scores, dict):
            return f"metrics.{part} in {FACTS} is {scores!r:.40}"
        for name, value in scores.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, NUMBER) or not math.isfinite(value):
                return f"metrics.{part}.{name} in {FACTS} is {value!r:.40}"
            low, high = metrics.limits(name)
            if not low <= value <= high:
                ends = f"{round(low, 6) + 0.0:g} to {high:.6g}"
                return f"metrics.{part}.{name} in {FACTS} is {value:g}, outside {ends}"
    return ""


def wrong_counts(facts: Mapping[str, Any]) -> str:
    """Say which number of cells, seconds or shares cannot be."""
    counts = inside(facts, "split.cells")
    for part, count in counts.items() if isinstance(counts, dict) else ():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            return f"split.cells.{part} in {FACTS} is {count!r:.40}"
    for key in ("cost.wall_seconds", "cost.cpu_seconds", "cost.peak_memory_mib"):
        value = inside(facts, key)
        if value is not MISSING and value < 0:
            return f"{key} in {FACTS} is {value:g}"
    fraction = facts.get("fraction", 1.0)
    return "" if 0 < fraction <= 1 else f"fraction in {FACTS} is {fraction:g}"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that a record consists of."""
    ignored = {LOG, DONE, FAILED, locks.NAME}
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.name not in ignored
            and not entry.name.startswith(TEMPORARY)
            and entry.is_file()
        )
    found = {}
    for name in names:
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def verify(folder: Path) -> list[str]:
    """Name the files of a finished run that are not what DONE says they were."""
    expected = read_seal(folder)
    found = digests(folder)
    return sorted(name for name, digest in expected.items() if found.get(name) != digest)
