"""Masked pretraining on the trainer: genes are learnt from genes, labels are not asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from leadline.data.cells import Cells
from leadline.data.splits import pretraining_cells as corpus_of
from leadline.errors import UserError
from leadline.models.base import Fit
from leadline.models.gene2vec import GENES_FILE, GeneEmbedding
from leadline.models.network import MaskedObjective, Pretrainable
from leadline.runs.starting_weights import EMBEDDING, WEIGHTS
from leadline.training import Setting, Vault
from leadline.training import fit as fitting
from leadline.training.build import facts_of, made, set_threads
from leadline.training.evaluate import measure
from leadline.training.step import determinism

# Names under which an objective's scores stand in the record, beside those of other tasks.
NAMES = {"loss": "masked_loss", "accuracy": "masking_accuracy"}
READ_AT_A_TIME = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a network does with hidden genes of some cells: scores beside floors, and tables."""

    scores: dict[str, float]
    tables: dict[str, str]


class Pretraining(Protocol):
    """What learns genes from genes, and is judged on cells that it has not seen."""

    def fit(self, corpus: Cells, selection: Cells | None) -> Fit:
        """Learn from the corpus, choose by the selection cells, keep the result for others."""

    def measure(self, cells: Cells) -> Measured:
        """Judge on these cells."""


class Pretrainer:
    """Fits a network on masked cells, judges it, and keeps its weights for others."""

    def __init__(self, model: Pretrainable, setting: Setting) -> None:
        self.model, self.setting = model, setting

    def fit(self, corpus: Cells, selection: Cells | None) -> Fit:
        """Train, choose the epoch on the selection cells, and keep its weights in every layout."""
        setting, self.corpus = self.setting, corpus
        gpus = [setting.device] if setting.device.type == "cuda" else []
        # A fork: the process's own generators stand afterwards where they stood before.
        with torch.random.fork_rng(gpus), determinism(setting.train, setting.device) as unable:
            self.network = made(lambda: self.model.build_masked(corpus), self.model, setting)
            set_threads(setting, self.model.multiplications(self.network))
            self.objective: MaskedObjective = self.model.masked_objective()
            fitted = fitting.Fit(
                self.objective,
                self.network,
                self.model.masked_source(corpus),
                None if selection is None else self.model.masked_source(selection),
                setting,
                ids=corpus.ids,
                before_step=self.model.before_step,
            ).run()
        self.block = fitted.block
        facts = facts_of(fitted, self.network, setting, unable, selected=selection is not None)
        caveats = [
            f"the result depends on how cells are batched: {why}" for why in self.model.caveats()
        ]
        return Fit(
            facts=facts
            | dict(self.model.facts(self.network))
            | {"checkpoints": self.keep(fitted.best_epoch)},
            epochs=fitted.rows,
            arrays=seen_by(corpus),
            warnings=[*fitted.warnings, *caveats],
        )

    def measure(self, cells: Cells) -> Measured:
        """Hide genes of these cells and see what is made of them; on every rank alike."""
        setting = self.setting
        with determinism(setting.train, setting.device):
            source = self.model.masked_source(cells)
            tally = measure(self.objective, self.network, source, setting, self.block)
        scores = {NAMES.get(name, name): x for name, x in self.objective.scores(tally).items()}
        floors = self.model.floors(self.corpus, cells, setting.seed)
        return Measured(scores=scores | floors, tables=dict(self.objective.tables(tally)))

    def keep(self, epoch: int) -> dict[str, str]:
        """Write the weights of the chosen epoch; give the digest of each file."""
        digests: dict[str, str] = {}
        if not self.setting.world.leads:
            return digests
        vault = self.setting.vault
        for name, content in self.model.layouts(self.network, epoch).items():
            vault.write(name, lambda file, content=content: torch.save(content, file))  # type: ignore[misc]
            digests[name] = digest(vault.open(name))
        assert WEIGHTS in digests
        return digests


class Embedder:
    """Builds an embedding of genes, judges it, and keeps it for others."""

    def __init__(self, model: GeneEmbedding, vault: Vault) -> None:
        self.model, self.vault = model, vault

    def fit(self, corpus: Cells, selection: Cells | None) -> Fit:
        """Build it; there is nothing to select."""
        built = self.model.build(corpus)
        self.table_GW = built.table_GW
        # Double precision, as the published file has it.
        self.vault.write(EMBEDDING, lambda file: np.save(file, built.table_GW.astype(np.float64)))
        self.vault.write(GENES_FILE, self._write_genes)
        kept = {name: digest(self.vault.open(name)) for name in (EMBEDDING, GENES_FILE)}
        return Fit(facts=self.model.facts(built) | {"checkpoints": kept}, arrays=seen_by(corpus))

    def _write_genes(self, file: BinaryIO) -> None:
        file.write("".join(f"{gene}\n" for gene in self.model.genes.tolist()).encode())

    def measure(self, cells: Cells) -> Measured:
        """Compare with what is expressed together in these cells."""
        return Measured(scores=self.model.agreement(self.table_GW, cells), tables={})


def seen_by(cells: Cells) -> dict[str, dict[str, NDArray[Any]]]:
    """Keep with the record what tells which cells were seen."""
    return {corpus_of.FILE: corpus_of.describe(cells)}


def digest(opened: Any) -> str:
    """Give the SHA-256 of a file that was kept."""
    found = hashlib.sha256()
    with opened as file:
        while chunk := file.read(READ_AT_A_TIME):
            found.update(chunk)
    return f"sha256:{found.hexdigest()}"


def require_pretrainable(model: object, name: str) -> Pretrainable:
    """Refuse a model that has no pretraining."""
    if isinstance(model, Pretrainable):
        return model
    raise UserError(
        "task=pretrain needs a model that learns genes from genes",
        got=f"model={name}",
        remedy="use model=scbert, model=scgpt or model=gene2vec",
    )
