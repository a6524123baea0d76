"""Pretraining: a model learns genes from genes and keeps what it learnt for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from leadline.config import Gene2vecConfig, RunConfig
from leadline.data.cells import Cells
from leadline.data.splits.split import Split, corpus_split
from leadline.distributed import World
from leadline.errors import UserError
from leadline.models.base import FitResult
from leadline.processes import StopRequest
from leadline.runs.identity import learns_by_epochs
from leadline.runs.record import CheckpointFolder
from leadline.runs.starting_weights import EMBEDDING
from leadline.runs.tasks.base import ComputedRun, Job, Learner, SplitCells, Task, setting_of
from leadline.runs.tracking import Tracker
from leadline.stats import metrics

if TYPE_CHECKING:
    from leadline.models.gene2vec import GeneEmbedding
    from leadline.training.pretrainer import Measured


class Pretrain(Task):
    """Fits a network on masked cells, or builds an embedding; its product is the weights."""

    __slots__ = ()

    def requires(self, config: RunConfig) -> None:
        """Refuse models that learn from labels alone, and settings of fine-tuning."""
        if not learns_by_epochs(config) and not isinstance(config.model, Gene2vecConfig):
            raise not_pretrainable(config)
        freeze = getattr(config.train, "freeze", "none")
        first = getattr(config.model, "pretrained", "")
        refused = {
            f"train.freeze={freeze}": freeze != "none",
            f"model.pretrained={first}": first.lower() not in ("", "false"),
            "protocol.select_by=macro_f1": config.protocol.select_by == "macro_f1",
        }
        for word, wrong in refused.items():
            if wrong:
                raise UserError(
                    "a pretraining run starts from scratch, trains every weight, and chooses its "
                    "epoch by accuracy or loss",
                    got=word,
                    remedy="leave it out",
                )

    def requires_of_model(self, model: Learner, config: RunConfig) -> None:
        """Refuse a network that has no pretraining."""
        if isinstance(config.model, Gene2vecConfig):
            return
        from leadline.models.network import Pretrainable

        if not isinstance(model, Pretrainable):
            raise not_pretrainable(config)

    def split(self, cells: Cells, config: RunConfig) -> Split:
        """Hold back the cells that classification holds back; learn from all others.

        With `data.corpus_fraction` from a share of these: one of a seed is part of any larger one.
        """
        split = corpus_split(
            cells,
            config.protocol,
            seed=config.seed,
            fraction=config.data.fraction,
            label=str(config.data.label),
            min_genes=config.data.min_genes,
        )
        share = config.data.corpus_fraction
        if share == 1:
            return split
        stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([config.seed, 23])))
        order_C = stream.permutation(split.train)
        kept = int(np.ceil(share * len(order_C)))
        left_out = np.union1d(split.dropped, order_C[kept:])
        return replace(split, train=np.sort(order_C[:kept]), dropped=left_out)

    def fit_and_predict(
        self, job: Job, parts: SplitCells, world: World, notice: StopRequest, tracker: Tracker
    ) -> ComputedRun:
        """Learn genes from genes, then judge on the cells that were held back."""
        model = pretrainer(job, world, notice, tracker)
        fit = model.fit(parts.train, parts.selection)
        found = {part: model.measure(cells) for part, cells in parts.held_back.items()}
        scores = {part: measured.scores for part, measured in found.items()}
        tables = {**fit.tables, **found["test"].tables}
        return ComputedRun(fit=replace(fit, tables=tables), scores=scores)

    def warnings(
        self, job: Job, computed: ComputedRun, scores: Mapping[str, Mapping[str, float]]
    ) -> list[str]:
        """Warn of a network that does no better than a rule."""
        return metrics.no_better_than_rules(scores["test"])


class Pretraining(Protocol):
    """What learns genes from genes, and is judged on cells that it has not seen."""

    def fit(self, corpus: Cells, selection: Cells | None) -> FitResult:
        """Learn from the corpus, choose by the selection cells, keep the result for others."""

    def measure(self, cells: Cells) -> Measured:
        """Judge on these cells."""


class Embedder:
    """Builds an embedding of genes, judges it, and keeps it for others."""

    def __init__(self, model: GeneEmbedding, vault: CheckpointFolder) -> None:
        self.model, self.vault = model, vault

    def fit(self, corpus: Cells, selection: Cells | None) -> FitResult:
        """Build it; there is nothing to select."""
        from leadline.models.gene2vec import GENES_FILE
        from leadline.training.pretrainer import digest, seen_by

        built = self.model.build(corpus)
        self.table_GW = built.table_GW
        # Double precision, as the published file has it.
        self.vault.write(EMBEDDING, lambda file: np.save(file, built.table_GW.astype(np.float64)))
        self.vault.write(GENES_FILE, self._write_genes)
        kept = {name: digest(self.vault, name) for name in (EMBEDDING, GENES_FILE)}
        return FitResult(
            facts=self.model.facts(built) | {"checkpoints": kept}, arrays=seen_by(corpus)
        )

    def _write_genes(self, file: BinaryIO) -> None:
        file.write("".join(f"{gene}\n" for gene in self.model.genes.tolist()).encode())

    def measure(self, cells: Cells) -> Measured:
        """Compare with what is expressed together in these cells."""
        from leadline.training.pretrainer import Measured

        return Measured(scores=self.model.agreement(self.table_GW, cells), tables={})


def pretrainer(job: Job, world: World, notice: StopRequest, tracker: Tracker) -> Pretraining:
    """Give the model in the hands of what pretrains it."""
    if isinstance(job.config.model, Gene2vecConfig):
        from leadline.models.gene2vec import GeneEmbedding

        assert isinstance(job.model, GeneEmbedding)
        return Embedder(job.model, CheckpointFolder(job.folder))
    from leadline.models.network import Pretrainable
    from leadline.training.pretrainer import Pretrainer

    assert isinstance(job.model, Pretrainable)
    return Pretrainer(job.model, setting_of(job, world, notice, tracker))


def not_pretrainable(config: RunConfig) -> UserError:
    """Say that a model has no pretraining."""
    return UserError(
        "task=pretrain needs a model that learns genes from genes",
        got=f"model={config.model.name}",
        remedy="use model=scbert, model=scgpt or model=gene2vec",
    )
