"""Zero-shot probe: what the vectors of a model know that is not trained here.

No cell trains anything. The scored cells are the reported part of the split, and all others are
set aside; labels and batches only judge. docs/zero_shot.md tells what the scores are worth.

Shapes: C cells, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import RunConfig, registry
from leadline.config.tasks import ZeroShotSettings
from leadline.data.cells import Cells
from leadline.data.splits import pretraining_cells
from leadline.data.splits.split import Split, enough_genes, told_of
from leadline.distributed import World
from leadline.errors import UserError
from leadline.models.base import CellEmbedder, FitResult
from leadline.processes import StopRequest
from leadline.runs.record import CheckpointFolder
from leadline.runs.tasks.base import ComputedRun, Job, Learner, SplitCells, Task, setting_of
from leadline.runs.tracking import Tracker
from leadline.stats import metrics
from leadline.stats.zero_shot import (
    FEWEST_CELLS,
    HEADLINE,
    FrozenScores,
    pcr_of_expression,
    score_frozen,
)

if TYPE_CHECKING:
    from leadline.models.external.python_class import OwnModel
    from leadline.models.external.worker import ExternalWorker

# What the record holds: the vectors that every score is computed from, and draws of the scores.
EMBEDDINGS, DRAWS = "embeddings.npz", "score_draws.npz"
# Kept while the scores are computed, so that a run that is stopped then need not embed again.
VECTORS = "vectors.npz"

Vectors = NDArray[np.float32]


class ZeroShot(Task):
    """Asks a frozen model for vectors and judges them; its product is the vectors."""

    __slots__ = ()

    def requires(self, config: RunConfig) -> None:
        """Refuse models without vectors of cells, and settings that ask for training."""
        row = registry.of(config.model)
        if not row.embeds_cells:
            known = [name for name, each in registry.ROWS.items() if each.embeds_cells]
            raise UserError(
                "task=zero_shot needs a model that gives cells vectors",
                got=f"model={config.model.name}",
                remedy=f"use one of {', '.join(known)}",
            )
        if config.data.label is None:
            raise UserError(
                "task=zero_shot judges vectors by labels",
                got="no data.label",
                remedy="name the column of cell types with data.label=",
            )
        if config.data.fraction != 1:
            raise UserError(
                "task=zero_shot learns from no label, so that none can be held back",
                got=f"data.fraction={config.data.fraction:g}",
                remedy="leave it out; task_settings.cells says how many cells are judged",
            )
        if settings_of(config).vectors != "cells" and row.kind != "network":
            raise UserError(
                f"task_settings.vectors={settings_of(config).vectors} needs a network",
                got=f"model={config.model.name}",
                remedy="use model=scbert or model=scgpt, or leave it out",
            )

    def requires_of_model(self, model: Learner, config: RunConfig) -> None:
        """Refuse a network that has no vectors of cells."""
        if registry.of(config.model).kind != "network" and not isinstance(model, CellEmbedder):
            raise UserError(
                "task=zero_shot needs a model with the method embed",
                got=type(model).__name__,
                remedy="add it, and embeds_cells=True to its row",
            )

    def split(self, cells: Cells, config: RunConfig) -> Split:
        """Report on all cells, or on so many as are asked for, alike from each batch and label."""
        if cells.labels_C is None:
            raise UserError(
                "task=zero_shot judges vectors by labels",
                got="cells without any",
                remedy="name the column of cell types with data.label=",
            )
        rows, poor = enough_genes(cells, config.data.min_genes)
        wanted = settings_of(config).cells
        chosen = drawn(cells, rows, wanted, np.random.default_rng(config.protocol.split_seed))
        if len(chosen) < FEWEST_CELLS:
            raise UserError(
                f"task=zero_shot needs at least {FEWEST_CELLS} cells",
                got=f"{len(chosen)}",
                remedy="use more cells",
            )
        none = rows[:0]
        return Split(
            train=none,
            val=none,
            test=chosen,
            unlabelled=np.setdiff1d(rows, chosen),
            dropped=poor,
            warnings=told_of(poor, config.data.min_genes),
        )

    def fit_and_predict(
        self, job: Job, parts: SplitCells, world: World, notice: StopRequest, tracker: Tracker
    ) -> ComputedRun:
        """Embed the cells, then judge the vectors."""
        cells, chosen = parts.held_back["test"], settings_of(job.config)
        vectors_CD, facts = vectors_of(job, cells, world, notice, tracker)
        if chosen.normalise == "l2":
            vectors_CD = of_length_one(vectors_CD)
        before = None
        if cells.batch_C is not None and len(np.unique(cells.batch_C)) > 1:
            before = pcr_of_expression(expression_of(cells), cells.batch_C)
        found = score_frozen(
            vectors_CD,
            cells.labels_C,  # type: ignore[arg-type]
            cells.batch_C,
            seed=job.config.protocol.split_seed,
            by_batch=chosen.folds == "batch",
            n_clusterings=chosen.clusterings,
            n_halves=chosen.half_samples,
            pcr_before=before,
        )
        fit = FitResult(
            facts=facts
            | {
                "dimensions": int(vectors_CD.shape[1]),
                "resolutions": dict(found.resolutions),
                "pcr_of_expression": before,
                "undefined": dict(found.undefined),
            },
            arrays={EMBEDDINGS: kept(vectors_CD, cells), DRAWS: draws_of(found)},
            tables=dict(source_of(job)),
        )
        told = reconstruction(job, cells, world, notice, tracker)
        return ComputedRun(fit=fit, scores={"test": {**found.values, **told}})

    def warnings(
        self, job: Job, computed: ComputedRun, scores: Mapping[str, Mapping[str, float]]
    ) -> list[str]:
        """Say what the model had seen of these cells, and which scores they cannot have."""
        said = [*overlaps(job)]
        if job.config.model.name == "harmony":
            said.append("Harmony is fitted to these very cells and told their batches")
        by_reason: dict[str, list[str]] = {}
        for name, why in computed.fit.facts["undefined"].items():
            by_reason.setdefault(why, []).append(metrics.title(name))
        said += [f"not defined: {', '.join(names)}: {why}" for why, names in by_reason.items()]
        return said

    def log_line(self, scores: Mapping[str, float]) -> str:
        """Write the scores that arms are compared by, as far as they are defined."""
        told = [f"{metrics.title(name)} {scores[name]:.4f}" for name in HEADLINE if name in scores]
        return ", ".join(told) or "no score is defined"


def settings_of(config: RunConfig) -> ZeroShotSettings:
    """Give the task's own settings; those of a configuration without any are the defaults."""
    found = config.task_settings
    return found if isinstance(found, ZeroShotSettings) else ZeroShotSettings()


def drawn(
    cells: Cells, rows: NDArray[np.int64], wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw so many rows, from each batch and label its share; the largest remainders round up."""
    if len(rows) <= wanted:
        return rows
    assert cells.labels_C is not None
    stratum_C = cells.labels_C.astype(np.int64)
    if cells.batch_C is not None:
        batch_C = np.unique(cells.batch_C, return_inverse=True)[1]
        stratum_C += len(cells.classes) * batch_C
    group = np.unique(stratum_C[rows], return_inverse=True)[1]
    size = np.bincount(group)
    share = size * wanted / len(rows)
    taken = np.floor(share).astype(np.int64)
    order = np.argsort(-(share - taken), kind="stable")
    taken[order[: wanted - int(taken.sum())]] += 1
    parts = [
        rng.choice(rows[group == each], count, replace=False) for each, count in enumerate(taken)
    ]
    return np.sort(np.concatenate(parts))


def vectors_of(
    job: Job, cells: Cells, world: World, notice: StopRequest, tracker: Tracker
) -> tuple[Vectors, dict[str, Any]]:
    """Ask the model for vectors, or take those that a stopped attempt of this run left."""
    vault = CheckpointFolder(job.folder)
    # Several ranks must do the same, and only one of them may write.
    opened = vault.open(VECTORS) if world.size == 1 else None
    if opened is not None:
        with opened as file, np.load(file, allow_pickle=False) as stored:
            return stored["vectors"], json.loads(str(stored["facts"]))
    if job.by_epochs:
        from leadline.models.network import TorchModel
        from leadline.training import frozen_vectors

        assert isinstance(job.model, TorchModel)
        setting = setting_of(job, world, notice, tracker)
        found = frozen_vectors(job.model, cells, setting, settings_of(job.config).vectors)
        vectors_CD, facts = found.vectors_CD, dict(found.facts)
    else:
        assert isinstance(job.model, CellEmbedder)
        vectors_CD = job.model.embed(cells)
        facts = {"parameters_total": 0, "parameters_trainable": 0}
        facts |= getattr(job.model, "embedding_facts", dict)()
    if world.leads:
        told = np.array(json.dumps(facts))
        vault.write(VECTORS, lambda file: np.savez(file, vectors=vectors_CD, facts=told))
    return vectors_CD, facts


def reconstruction(
    job: Job, cells: Cells, world: World, notice: StopRequest, tracker: Tracker
) -> dict[str, float]:
    """Judge how a pretrained network tells bins, on the first of a random order of the cells."""
    chosen = settings_of(job.config)
    count = chosen.reconstruction_cells if chosen.vectors == "cells" else 0
    if not (job.by_epochs and "pretrained" in job.named.starting_weights and count):
        return {}
    from leadline.models.network import TorchModel
    from leadline.training import reconstruction_of

    assert isinstance(job.model, TorchModel)
    order = np.random.default_rng(job.config.protocol.split_seed).permutation(len(cells))
    some = cells.take(np.sort(order[:count]))
    found = reconstruction_of(job.model, some, setting_of(job, world, notice, tracker))
    return {f"reconstruction_{name}": value for name, value in found.items()}


def expression_of(cells: Cells) -> Any:
    """Give the expression that PCR is compared with: log-normalised where it can be."""
    try:
        return cells.lognorm()
    except UserError:
        return cells.matrix_CG


def of_length_one(vectors_CD: Vectors) -> Vectors:
    """Divide each vector by its length; one of length 0 stays."""
    length_C = np.linalg.norm(vectors_CD.astype(np.float64), axis=1, keepdims=True)
    scaled: Vectors = (vectors_CD / np.where(length_C > 0, length_C, 1.0)).astype(np.float32)
    return scaled


def kept(vectors_CD: Vectors, cells: Cells) -> dict[str, NDArray[Any]]:
    """Give what the record keeps: the vectors, and what they were judged by."""
    assert cells.labels_C is not None
    arrays: dict[str, NDArray[Any]] = {
        "ids": cells.ids,
        "embedding": vectors_CD,
        "label": cells.labels_C,
        "classes": np.array(cells.classes, dtype=np.str_),
    }
    return arrays if cells.batch_C is None else arrays | {"batch": cells.batch_C}


def draws_of(found: FrozenScores) -> dict[str, NDArray[Any]]:
    """Lay the draws of scores out as arrays, named by what they are drawn over."""
    kinds = {"halves": found.halves, "cells": found.cells, "clusterings": found.clusterings}
    return {
        f"{kind}_{name}": values for kind, each in kinds.items() for name, values in each.items()
    }


def source_of(job: Job) -> Mapping[str, str]:
    """Give the file of a class of the user's, which the record keeps."""
    if not hasattr(job.model, "source"):
        return {}
    own: OwnModel | ExternalWorker = job.model  # type: ignore[assignment]
    return own.source()


def overlaps(job: Job) -> list[str]:
    """Say how many of the scored cells the starting weights have seen, or that nobody knows."""
    said = []
    cells = job.cells.take(job.split.test)
    for setting, origin in job.named.starting_weights.items():
        if setting not in ("pretrained", "gene2vec"):
            continue
        if origin.folder is None:
            said.append(
                f"whether the weights of model.{setting} have seen these cells is not known"
            )
            continue
        corpus = pretraining_cells.read(origin.folder)
        count = int(pretraining_cells.seen(corpus, cells, copies=True).sum())
        if count:
            said.append(
                f"the weights of model.{setting} have seen {count:,} of these {len(cells):,} "
                "cells, without their labels"
            )
    if registry.of(job.config.model).kind == "external":
        said.append("made outside leadline: whether these cells or labels were seen is not known")
    return said
