"""The folder of one run: what is in it, when it counts as done, who may write to it.

runs/<run_id>/ config.yaml, record.json, epochs.csv, predictions.npz, log.txt, checkpoints/,
and DONE or FAILED, written last. checkpoints/ holds last.pt and the best weights while a run is
under way, best.pt (or nothing, or what a pretraining keeps for others) once it is done; it is
large, and not part of what DONE seals.

predictions.npz holds `classes`, and of each part (`test`, the reported cells, and `val`, those on
which was selected) `ids`, `true` and `pred` as codes of the classes, and `proba`. Where the data
set names a batch column it holds of the reported cells also `test_batch`, codes of
`test_batch_names`, and `test_batch_trained_on`: whether any training or selection cell is of each.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import yaml
from numpy.typing import NDArray

from leadline import files as atomic
from leadline import locks
from leadline.errors import UserError
from leadline.progress import say
from leadline.runs import seal

SCHEMA_VERSION = 1
CONFIG, FACTS, EPOCHS = seal.CONFIG, seal.FACTS, seal.EPOCHS
PREDICTIONS, LOG, DONE, FAILED = seal.PREDICTIONS, seal.LOG, seal.DONE, seal.FAILED
digests, verify = seal.digests, seal.verify
CHECKPOINTS, BEST = "checkpoints", "best.pt"
# What others start from; it stays when the run is done.
KEPT = "pretrained"


class State(StrEnum):
    """What a run's folder tells; DAMAGED is one that was finished and can no longer be read."""

    MISSING = "missing"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    DONE = "done"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedBatches:
    """The batch (donor, plate) of each reported cell, and which batches the run learnt from.

    `names` holds each name once, `code_C` the place of a cell's batch in it; `trained_on_B` says
    whether any training or selection cell is of the batch.
    """

    names: NDArray[np.str_]
    code_C: NDArray[np.integer]
    trained_on_B: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a model said of the cells of one part; the primary record of a run.

    `batches` is None where the data set names no batch column, and in records made before they
    held it.
    """

    ids: NDArray[np.str_]
    truth_C: NDArray[np.int32]
    predicted_C: NDArray[np.int32]
    proba_CK: NDArray[np.float16]
    batches: ReportedBatches | None = None


def identify(science: Mapping[str, Any], prefix: str) -> str:
    """Name a run by what it computes: a readable prefix and 12 hex digits of a SHA-256."""
    canonical = json.dumps(science, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{prefix}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def state(folder: Path) -> State:
    """Say how far a run got."""
    if os.path.lexists(folder / DONE):
        return State.DAMAGED if seal.broken_seal(folder) else State.DONE
    owner = locks.read(folder / locks.NAME)
    if owner is not None and not locks.is_stale(folder / locks.NAME, owner):
        return State.RUNNING
    if (folder / FAILED).exists():
        return State.NOT_APPLICABLE if not_applicable(folder) else State.FAILED
    return State.INTERRUPTED if folder.exists() else State.MISSING


def not_applicable(folder: Path) -> bool:
    """Say whether a run ended because its model has no answer to what was asked."""
    word = str(State.NOT_APPLICABLE)
    with open(folder / FAILED, encoding="utf-8", errors="replace") as file:
        return file.read(len(word)) == word


class CheckpointFolder:
    """A run's checkpoints, by name: each is whole or not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / CHECKPOINTS

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> None:
        """Keep what `fill` writes."""
        self.folder.mkdir(exist_ok=True)
        atomic.write_with(self.folder / name, fill)

    def open(self, name: str) -> BinaryIO | None:
        """Give what was kept, or None."""
        try:
            return open(self.folder / name, "rb")
        except FileNotFoundError:
            return None

    def keep_final(self, *, keep_best: bool = True) -> None:
        """Leave the best weights, as best.pt, and what a pretraining keeps: the run is done."""
        for path in self.folder.glob("best-*.pt"):
            os.replace(path, self.folder / BEST)
        kept = [path.name for path in self.folder.glob(f"{KEPT}*")]
        self.keep_only(*([BEST] if keep_best else []), *kept)

    def keep_only(self, *names: str) -> None:
        """Throw the others away, and the folder if nothing is left."""
        if not self.folder.exists():
            return
        for path in self.folder.iterdir():
            if path.name not in names:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class Record:
    """A run's folder, open for writing by the one worker that holds its lock."""

    def __init__(self, folder: Path, held: locks.Lock) -> None:
        self.folder = folder
        self._lock = held

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Store the resolved configuration."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        atomic.write_text(self.folder / CONFIG, text)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Store everything that is known of the run."""
        atomic.write_json(self.folder / FACTS, {"schema_version": SCHEMA_VERSION, **facts})

    def write_epochs(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the learning curve, one row an epoch."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        atomic.write_text(self.folder / EPOCHS, buffer.getvalue())

    def write_predictions(self, parts: Mapping[str, Predictions], classes: Sequence[str]) -> None:
        """Store the predictions of each part."""
        arrays: dict[str, NDArray[Any]] = {"classes": np.array(classes, dtype=np.str_)}
        for part, said in parts.items():
            arrays[f"{part}_ids"] = said.ids
            arrays[f"{part}_true"] = said.truth_C
            arrays[f"{part}_pred"] = said.predicted_C
            arrays[f"{part}_proba"] = said.proba_CK
            if said.batches is not None:
                arrays[f"{part}_batch"] = said.batches.code_C
                arrays[f"{part}_batch_names"] = said.batches.names
                arrays[f"{part}_batch_trained_on"] = said.batches.trained_on_B
        atomic.write_arrays(self.folder / PREDICTIONS, arrays)

    def write_table(self, name: str, text: str) -> None:
        """Store a table that a model makes beside its predictions."""
        atomic.write_text(self.folder / name, text)

    def write_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store what a model learnt, where that is small."""
        atomic.write_arrays(self.folder / name, arrays)

    @property
    def vault(self) -> CheckpointFolder:
        """Give the checkpoints; an interrupted run's are still there."""
        return CheckpointFolder(self.folder)

    def finish(self) -> None:
        """Seal the record: DONE holds the digest of every other file."""
        self._lock.check()
        atomic.write_json(self.folder / DONE, {"sha256": digests(self.folder)})

    def fail(self, trace: str) -> None:
        """Say why the run ended without a result."""
        atomic.write_text(self.folder / FAILED, trace)


def append_log(folder: Path, text: str) -> None:
    """Append dated lines to a run's log; it is for people, and not part of what DONE seals."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with open(folder / LOG, "a", encoding="utf-8") as file:
        file.writelines(f"{now} {line}\n" for line in text.splitlines())


def tell(folder: Path, text: str) -> None:
    """Tell the person who waits, and the log."""
    say(text)
    append_log(folder, text)


def make_folder(folder: Path, runs_dir: Path) -> None:
    """Make a folder below the folder of all runs, or say that this cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            "runs_dir must be a folder that can be written to",
            got=f"{str(runs_dir)!r} ({error.strerror})",
            remedy="choose another with runs_dir=",
        ) from error


@contextlib.contextmanager
def open_record(folder: Path) -> Iterator[Record]:
    """Open a run's folder for writing; what an earlier attempt left unfinished is tidied up.

    Raises
    ------
    lock.Busy
        When another worker writes to it.
    """
    make_folder(folder, folder.parent)
    with locks.hold(folder) as held:
        atomic.sweep(folder)
        atomic.sweep(folder / CHECKPOINTS)
        with contextlib.suppress(FileNotFoundError):
            (folder / FAILED).unlink()
        yield Record(folder, held)


def tidy(folder: Path) -> None:
    """Remove what a worker left that was killed after its run was done: its lock, half files."""
    unsettled = any(
        path.name != BEST and not path.name.startswith(KEPT)
        for path in (folder / CHECKPOINTS).glob("*")
    )
    if unsettled or any(path.name == locks.NAME or is_leftover(path) for path in folder.iterdir()):
        with contextlib.suppress(locks.Busy), locks.hold(folder):
            atomic.sweep(folder)
            CheckpointFolder(folder).keep_final()


def is_leftover(path: Path) -> bool:
    """Say whether a file was still being written when its writer died."""
    return path.name.startswith(atomic.TEMPORARY)


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the record of a finished run."""
    facts = json.loads(seal.read_small(folder / FACTS))
    assert isinstance(facts, dict)
    return facts


def read_predictions(folder: Path) -> tuple[dict[str, Predictions], tuple[str, ...]]:
    """Read the predictions of each part, and the class names."""
    stored = atomic.read_npz(folder / PREDICTIONS)
    parts = [name.removesuffix("_ids") for name in stored if name.endswith("_ids")]
    said = {
        part: Predictions(
            ids=stored[f"{part}_ids"],
            truth_C=stored[f"{part}_true"],
            predicted_C=stored[f"{part}_pred"],
            proba_CK=stored[f"{part}_proba"],
            batches=_batches_of(stored, part),
        )
        for part in parts
    }
    return said, tuple(stored["classes"].tolist())


def _batches_of(stored: Mapping[str, NDArray[Any]], part: str) -> ReportedBatches | None:
    if f"{part}_batch" not in stored:
        return None
    return ReportedBatches(
        names=stored[f"{part}_batch_names"],
        code_C=stored[f"{part}_batch"],
        trained_on_B=stored[f"{part}_batch_trained_on"],
    )
