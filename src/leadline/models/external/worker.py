"""A worker as a run sees it: a model that is asked in another process, in its own environment.

Shapes: C cells, H classes that have training cells, K classes, D dimensions.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import EmbeddingConfig, ExternalConfig
from leadline.data.cells import Cells, Scale
from leadline.models.base import EXPRESSION, FitResult, require_two_classes
from leadline.models.external.answer import Answer
from leadline.models.external.embedding import CAVEAT, Probe
from leadline.models.external.exchange import Exchange, WorkerRequest, private_folder
from leadline.models.external.random_weights import prove_random

SOURCE = "model_source.py"


class ExternalWorker:
    """Learns from labelled cells through a worker's vectors, or lets the worker learn."""

    def __init__(
        self,
        config: ExternalConfig,
        *,
        seed: int,
        threads: int = 1,
        device: str = "cpu",
        cache: Path | None = None,
        whole: Cells | None = None,
        log: Callable[[str], None] = lambda text: None,
        grace: float = 10.0,
    ) -> None:
        self.config, self.seed, self.cache = config, seed, cache
        self.exchange = Exchange(
            config, threads=threads, device=device, cache=cache, log=log, grace=grace
        )
        # All cells of the data set, so that seeds and splits of a probe share one embedding.
        self.whole = None if whole is None else unlabelled(whole)
        counts = frozenset({Scale.COUNTS, Scale.LN_CP10K, Scale.LOG2_CP10K})
        self.accepts = counts if config.input == "counts" else EXPRESSION
        self.said: dict[str, Any] = {}

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Learn; while it fits, the worker has nothing of the cells that are reported on."""
        require_two_classes(train)
        proof = prove_random(self.exchange, train, self.seed, self.config.answer)
        if self.config.answer == "embed":
            self.probe = Probe(EmbeddingConfig(name=self.config.name, probe=self.config.probe))
            placed = replace(train, positions_CD=self.vectors(train))
            found = self.probe.fit(placed, None)
            facts, warnings = dict(found.facts), list(found.warnings)
        else:
            facts, warnings = {}, [CAVEAT.replace("positions", "weights")]
            self.fit_worker(train)
        told = self.embedding_facts()
        count = told["parameters_total"]
        facts |= told | {
            "parameters_trainable": count if self.config.answer == "fit_predict" else 0,
            **({"random_weights": proof} if proof else {}),
        }
        return FitResult(facts=facts, tables=self.source(), warnings=warnings)

    def fit_worker(self, train: Cells) -> None:
        """Let the worker fit, in a folder that stays as long as this model."""
        assert train.labels_C is not None
        self.present = np.unique(train.labels_C)
        self.classes = tuple(train.classes[k] for k in self.present)
        stack = contextlib.ExitStack()
        self.folder = stack.enter_context(private_folder(self.cache))
        weakref.finalize(self, stack.close)
        self.note(self.exchange.ask_in(self.folder, train, self.request("fit")))

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Ask the worker for probabilities, or the probe on its vectors."""
        if self.config.answer == "embed":
            return self.probe.predict_proba(replace(cells, positions_CD=self.vectors(cells)))
        answer = self.exchange.ask_in(self.folder, unlabelled(cells), self.request("predict"))
        proba_CK = np.zeros((len(cells), len(cells.classes)))
        proba_CK[:, self.present] = answer.values_NW
        return proba_CK

    def embed(self, cells: Cells) -> NDArray[np.float32]:
        """Ask the worker for a vector of each cell, once random weights are proved to be random."""
        prove_random(self.exchange, cells, self.seed, "embed")
        answer = self.exchange.ask(unlabelled(cells), self.request("embed"))
        self.note(answer)
        assert answer.values_NW is not None
        return answer.values_NW

    def embedding_facts(self) -> dict[str, Any]:
        """Give what the record of a zero-shot run says of the worker."""
        reply = {key: self.said[key] for key in sorted(self.said) if key not in COSTS}
        count = self.said.get("parameters")
        return {"parameters_total": count, "source": self.config.source, "reply": reply}

    def vectors(self, cells: Cells) -> NDArray[np.float32]:
        """Give vectors from one answer about all cells of the data set, if these are of it."""
        if self.whole is None or not np.isin(cells.ids, self.whole.ids).all():
            return self.embed(cells)
        place = {name: row for row, name in enumerate(self.whole.ids.tolist())}
        answer = self.exchange.ask(self.whole, self.request("embed"))
        self.note(answer)
        assert answer.values_NW is not None
        return answer.values_NW[[place[name] for name in cells.ids.tolist()]]

    def request(self, step: str) -> WorkerRequest:
        """Ask with the run's seed where it matters; frozen pretrained weights have none."""
        frozen = step == "embed" and self.config.pretrained
        classes = self.classes if step in ("fit", "predict") else ()
        return WorkerRequest(
            step=step,
            pretrained=self.config.pretrained,
            seed=0 if frozen else self.seed,
            classes=classes,
        )

    def note(self, answer: Answer) -> None:
        """Keep what a worker says of itself, for the record."""
        self.said = answer.facts

    def source(self) -> dict[str, str]:
        """Keep the worker's file with the record."""
        if self.config.worker is None:
            return {}
        text = Path(self.config.worker).expanduser().read_bytes().decode(errors="replace")
        return {SOURCE: text}


# Different in every run, so no part of what a fit found.
COSTS = ("seconds", "peak_memory_mib", "schema")


def unlabelled(cells: Cells) -> Cells:
    """Take labels, and parts that a file assigns, away from cells."""
    return replace(cells, labels_C=None, given_C=None, classes=())
