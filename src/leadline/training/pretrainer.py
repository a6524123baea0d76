"""Masked pretraining: a network learns genes from genes, labels are not asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from leadline.data.cells import Cells
from leadline.data.splits import pretraining_cells as corpus_of
from leadline.models.base import FitResult
from leadline.models.network import MaskedObjective, Pretrainable
from leadline.training import fit as fitting
from leadline.training.build import caveats_of, facts_of, make_network, set_threads
from leadline.training.evaluate import measure
from leadline.training.precision import numerics
from leadline.training.settings import Checkpoints, FitSettings

# Names under which an objective's scores stand in the record, beside those of other tasks.
NAMES = {"loss": "masked_loss", "accuracy": "masking_accuracy"}
# The file that a fine-tuning run reads; a model may keep other layouts beside it.
OWN_LAYOUT = "pretrained.pt"
READ_AT_A_TIME = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a network does with hidden genes of some cells: scores beside floors, and tables."""

    scores: dict[str, float]
    tables: dict[str, str]


class Pretrainer:
    """Fits a network on masked cells, judges it, and keeps its weights for others."""

    def __init__(self, model: Pretrainable, setting: FitSettings) -> None:
        self.model, self.setting = model, setting

    def fit(self, corpus: Cells, selection: Cells | None) -> FitResult:
        """Train, choose the epoch on the selection cells, and keep its weights in every layout."""
        setting, self.corpus = self.setting, corpus
        gpus = [setting.device] if setting.device.type == "cuda" else []
        # A fork: the process's own generators stand afterwards where they stood before.
        with torch.random.fork_rng(gpus), numerics(setting.train, setting.device) as unable:
            self.network = make_network(
                lambda: self.model.build_masked(corpus), self.model, setting
            )
            set_threads(setting, self.model.multiplications(self.network))
            self.objective: MaskedObjective = self.model.masked_objective()
            fitted = fitting.FitLoop(
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
            f"the result depends on how cells are batched: {why}"
            for why in caveats_of(self.model, setting)
        ]
        return FitResult(
            facts=facts
            | dict(self.model.facts(self.network))
            | {"checkpoints": self.keep(fitted.best_epoch)},
            epochs=fitted.rows,
            arrays=seen_by(corpus),
            warnings=[*fitted.warnings, *caveats, *self.model.warnings(self.network)],
        )

    def measure(self, cells: Cells) -> Measured:
        """Hide genes of these cells and see what is made of them; on every rank alike."""
        setting = self.setting
        with numerics(setting.train, setting.device):
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
            digests[name] = digest(vault, name)
        assert OWN_LAYOUT in digests
        return digests


def seen_by(cells: Cells) -> dict[str, dict[str, NDArray[Any]]]:
    """Keep with the record what tells which cells were seen."""
    return {corpus_of.FILE: corpus_of.describe(cells)}


def digest(vault: Checkpoints, name: str) -> str:
    """Give the SHA-256 of a file that was kept."""
    found, opened = hashlib.sha256(), vault.open(name)
    assert opened is not None
    with opened as file:
        while chunk := file.read(READ_AT_A_TIME):
            found.update(chunk)
    return f"sha256:{found.hexdigest()}"
