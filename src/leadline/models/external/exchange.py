"""One question to a worker: a private folder, a process, a checked answer, or one kept before.

The folder holds request.json and cells.npz; labels are in it only while the worker fits, and then
those of the training cells alone. The reported cells come into it after the fit was acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline import files
from leadline.config import ExternalConfig
from leadline.config.external import digest_of_worker
from leadline.data.cells import Cells, Scale
from leadline.errors import NotApplicable, UserError
from leadline.locks import started
from leadline.models.external.answer import OUT, REPLY, SCHEMA, Answer, read_answer, too_large
from leadline.models.external.process import end_strangers, run_command
from leadline.processes import share_of

PREFIX = "leadline-worker-"
DONE, UNSUPPORTED = 0, 99
ARRAY = {"embed": "embedding", "gene_embeddings": "embedding", "predict": "probabilities"}


class WorkerFailed(Exception):
    """A worker ended with an exit code of its own, or was ended."""


# What is asked of a worker that fits itself.
FITS = "fit_predict"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRequest:
    """What a worker is asked, beside the cells: request.json.

    `step` is `embed` or `gene_embeddings`, or of fit_predict first `fit` and then `predict`.
    `classes` are the names behind the numbers in `labels`.
    """

    step: str
    pretrained: bool = True
    seed: int = 0
    classes: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """Name the task that the step belongs to."""
        return "fit_predict" if self.step in ("fit", "predict") else self.step


class Exchange:
    """Asks one worker, as its settings say."""

    def __init__(
        self,
        config: ExternalConfig,
        *,
        threads: int = 1,
        device: str = "cpu",
        cache: Path | None = None,
        log: Callable[[str], None] = lambda text: None,
        grace: float = 10.0,
    ) -> None:
        if config.worker is None and config.command is None:
            raise UserError(
                "model=external needs a worker",
                got="neither model.worker nor model.command",
                remedy="write one with `leadline worker new NAME` and name it with model.worker=",
            )
        now = digest_of_worker(config.worker, config.command)
        if now != config.source:
            raise UserError(
                "a run of a worker belongs to one version of its file",
                got=f"{config.worker}, which is not what it was ({config.source})",
                remedy="put that file back, or run again under the new one",
            )
        self.config, self.threads, self.device = config, threads, device
        self.cache, self.log, self.grace = cache, log, grace

    def words(self, folder: Path) -> list[str]:
        """Give the command, its last word the folder unless {folder} says where that stands."""
        command = self.config.command
        if command is None:
            python = self.config.python or sys.executable
            command = [os.path.expanduser(python), os.path.expanduser(str(self.config.worker))]
        if any("{folder}" in word for word in command):
            return [word.replace("{folder}", str(folder)) for word in command]
        return [*command, str(folder)]

    def ask(self, cells: Cells, request: WorkerRequest) -> Answer:
        """Ask one question in a folder of its own, or give the answer that was kept."""
        kept = self.kept(cells, request)
        if kept is not None and kept.exists():
            stored = files.arrays_of(kept)
            return Answer(stored["values"], json.loads(str(stored["facts"])))
        with private_folder(self.cache) as folder:
            answer = self.ask_in(folder, cells, request)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            assert answer.values_NW is not None
            told = np.array(json.dumps(answer.facts))
            files.write_arrays(kept, {"values": answer.values_NW, "facts": told})
        return answer

    def ask_in(self, folder: Path, cells: Cells, request: WorkerRequest) -> Answer:
        """Write the question into a folder, run the worker, read its answer."""
        for name in (REPLY, OUT):
            (folder / name).unlink(missing_ok=True)
        files.write_json(folder / "request.json", self.content(cells, request))
        np.savez(folder / "cells.npz", allow_pickle=False, **arrays_of_cells(cells, self, request))
        names = cells.genes if request.step == "gene_embeddings" else cells.ids
        width = len(request.classes) if request.step == "predict" else None
        end = run_command(
            self.words(folder),
            token=folder.name,
            seconds=self.config.time_limit,
            environment={**share_of(self.threads), "PYTHONHASHSEED": "0"},
            too_much=lambda: too_large(folder, len(names), width),
            log=self.log,
            grace=self.grace,
        )
        what = self.config.name or "the worker"
        said = f"; its last line: {end.last_line}" if end.last_line else ""
        if end.stopped:
            raise WorkerFailed(f"{what} was ended at {request.step}: {end.stopped}{said}")
        if end.code == UNSUPPORTED:
            if (folder / OUT).exists():
                raise UserError(
                    "a worker answers or exits with 99, which means unsupported",
                    got="exit code 99 and an out.npz",
                    remedy="exit with 0 after an answer",
                )
            raise NotApplicable(
                "not applicable: a worker says what it does not support",
                got=f"{what} asked for {request.task} with pretrained={str(request.pretrained)}"
                f"{said}".replace("True", "true").replace("False", "false"),
                remedy="leave this arm out, or read it as not applicable",
            )
        if end.code != DONE:
            raise WorkerFailed(f"{what} failed at {request.step} with exit code {end.code}{said}")
        if end.stragglers:
            raise UserError(
                "a worker leaves nothing running when it exits",
                got=f"{end.stragglers} processes that it started, ended now",
                remedy="wait for them before it exits",
            )
        return read_answer(folder, names, ARRAY.get(request.step), width)

    def content(self, cells: Cells, request: WorkerRequest) -> dict[str, Any]:
        """Give what request.json holds."""
        scale = "counts" if self.config.input == "counts" else self.config.input
        return {
            "schema": SCHEMA,
            "task": request.task,
            **asdict(request),
            "classes": list(request.classes),
            "device": self.device,
            "threads": self.threads,
            "seconds": self.config.time_limit,
            "options": self.config.options or {},
            "scale": str(cells.scale) if scale == "as_given" else scale,
            "gene_kind": cells.gene_kind,
        }

    def kept(self, cells: Cells, request: WorkerRequest) -> Path | None:
        """Give where the answer to a question is kept; answers of fits are not."""
        if self.cache is None or request.task == FITS:
            return None
        asked = asdict(request), self.config.source, self.config.input, self.config.options
        said = json.dumps([asked, cells.fingerprint(), self.device, self.installed()])
        name = hashlib.sha256(said.encode()).hexdigest()
        return self.cache / "answers" / f"{name}.npz"

    def installed(self) -> list[str]:
        """Name the packages beside the worker's interpreter, without starting it."""
        if self.config.python is None:
            return list(self.config.command or ())
        root = Path(self.config.python).expanduser().absolute().parents[1]
        return sorted(path.name for path in root.glob("lib/python3*/site-packages/*.dist-info"))


def arrays_of_cells(cells: Cells, exchange: Exchange, request: WorkerRequest) -> dict[str, Any]:
    """Give what cells.npz holds; labels only for a fit, as numbers of the request's classes."""
    wanted = exchange.config.input
    matrix = (
        cells.counts()
        if wanted == "counts"
        else cells.lognorm(None if wanted == "as_given" else Scale(wanted))
    )
    arrays: dict[str, NDArray[Any]] = {
        "data": matrix.data,
        "indices": matrix.indices.astype(np.int32),
        "indptr": matrix.indptr.astype(np.int64),
        "shape": np.array(matrix.shape, dtype=np.int64),
        "genes": cells.genes.astype(np.str_),
        "ids": cells.ids.astype(np.str_),
    }
    if cells.batch_C is not None:
        arrays["batch"] = cells.batch_C.astype(np.str_)
    if request.step == "fit":
        assert cells.labels_C is not None
        number = {name: index for index, name in enumerate(request.classes)}
        arrays["labels"] = np.array(
            [number[cells.classes[k]] for k in cells.labels_C], dtype=np.int64
        )
    return arrays


@contextlib.contextmanager
def private_folder(cache: Path | None) -> Iterator[Path]:
    """Make a folder that only this user reads, and remove it; those of killed runs as well."""
    root = Path(tempfile.gettempdir()) if cache is None else cache / "exchange"
    root.mkdir(parents=True, exist_ok=True)
    remove_stale(root)
    folder = root.absolute() / f"{PREFIX}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale(root: Path) -> None:
    """Remove folders whose owner was killed on this machine, and end what it had started."""
    for folder in root.glob(f"{PREFIX}{socket.gethostname()}-*"):
        owner = folder.name.split("-")[-2]
        if owner.isdigit() and started(int(owner)) is None:
            end_strangers(folder.name)
            shutil.rmtree(folder, ignore_errors=True)
