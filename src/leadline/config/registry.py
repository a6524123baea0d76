"""Every model that can be run, one row each: the only list of models.

A row names what is imported when a run asks for it, so that this table costs nothing to read: the
class with the model's settings, and the class of the model. They may stand in one file.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Literal

from leadline.config.models import ModelConfig

# Installed packages offer models under this group of entry points.
GROUP = "leadline.models"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model.

    `schema` and `model` are written module:Class. Of the kinds, a `network` is fitted by the
    trainer and may choose an epoch on a selection set, an `estimator` is solved at once, an
    `embedding` embeds genes and knows only task=pretrain, a `projection` gives cells vectors and
    knows only probes, and an `external` model wraps what others made. Whatever `embeds_cells` can
    be asked for a vector of each cell (task=zero_shot), what `embeds_genes` for a vector of each
    gene (task=perturbation). A `deterministic` one has no luck of its
    own: on the same training cells its runs are one number. Of the families, a `control` names a
    cell without looking at it; `simple` is what anybody means by asking whether a simple model is
    enough.
    """

    schema: str
    model: str
    kind: Literal["network", "estimator", "embedding", "projection", "external"]
    title: str
    family: Literal["control", "simple", "transformer", "other"] = "other"
    deterministic: bool = False
    embeds_cells: bool = False
    embeds_genes: bool = False

    @property
    def names_cells(self) -> bool:
        """Say whether it can learn to name cells (task=classify)."""
        return self.kind not in ("embedding", "projection")


ROWS: dict[str, ModelRow] = {
    "logreg": ModelRow(
        schema="leadline.config.models:LogregConfig",
        model="leadline.models.logreg.model:LogisticRegression",
        kind="estimator",
        title="logistic regression",
        family="simple",
        deterministic=True,
    ),
    "majority": ModelRow(
        schema="leadline.config.models:MajorityConfig",
        model="leadline.models.controls:Majority",
        kind="estimator",
        title="majority class",
        family="control",
        deterministic=True,
    ),
    "stratified": ModelRow(
        schema="leadline.config.models:StratifiedConfig",
        model="leadline.models.controls:Stratified",
        kind="estimator",
        title="stratified guesses",
        family="control",
    ),
    "nearest_centroid": ModelRow(
        schema="leadline.config.models:NearestCentroidConfig",
        model="leadline.models.controls:NearestCentroid",
        kind="estimator",
        title="nearest centroid",
        family="simple",
        deterministic=True,
    ),
    "knn_pca": ModelRow(
        schema="leadline.config.models:KnnPcaConfig",
        model="leadline.models.controls:KnnPca",
        kind="estimator",
        title="nearest neighbours",
        family="simple",
        deterministic=True,
    ),
    "mlp": ModelRow(
        schema="leadline.config.models:MlpConfig",
        model="leadline.models.mlp:Mlp",
        kind="network",
        title="mlp",
        family="simple",
    ),
    "scgpt": ModelRow(
        schema="leadline.config.scgpt:ScgptConfig",
        model="leadline.models.scgpt.model:Scgpt",
        kind="network",
        title="scGPT",
        family="transformer",
        embeds_cells=True,
        embeds_genes=True,
    ),
    "scbert": ModelRow(
        schema="leadline.config.scbert:ScbertConfig",
        model="leadline.models.scbert.model:Scbert",
        kind="network",
        title="scBERT",
        family="transformer",
        embeds_cells=True,
        embeds_genes=True,
    ),
    "gene2vec": ModelRow(
        schema="leadline.config.scbert:Gene2vecConfig",
        model="leadline.models.gene2vec:GeneEmbedding",
        kind="embedding",
        title="gene2vec",
        embeds_genes=True,
    ),
    "python": ModelRow(
        schema="leadline.config.external:PythonConfig",
        model="leadline.models.external.python_class:OwnModel",
        kind="external",
        title="a class of your own",
        embeds_cells=True,
    ),
    "embedding": ModelRow(
        schema="leadline.config.external:EmbeddingConfig",
        model="leadline.models.external.embedding:Probe",
        kind="external",
        title="probe on an embedding",
        embeds_cells=True,
    ),
    "gene_vectors": ModelRow(
        schema="leadline.config.external:GeneVectorsConfig",
        model="leadline.models.external.gene_vectors:VectorsFromFile",
        kind="projection",
        title="gene vectors from a file",
        family="other",
        deterministic=True,
        embeds_genes=True,
    ),
    "external": ModelRow(
        schema="leadline.config.external:ExternalConfig",
        model="leadline.models.external.worker:ExternalWorker",
        kind="external",
        title="a program of your own",
        embeds_cells=True,
    ),
    "noise": ModelRow(
        schema="leadline.config.projections:NoiseConfig",
        model="leadline.models.projections:Noise",
        kind="projection",
        title="noise",
        family="control",
        embeds_cells=True,
        embeds_genes=True,
    ),
    "depth": ModelRow(
        schema="leadline.config.projections:DepthConfig",
        model="leadline.models.projections:Depth",
        kind="projection",
        title="depth of the cell",
        family="control",
        deterministic=True,
        embeds_cells=True,
    ),
    "random_projection": ModelRow(
        schema="leadline.config.projections:RandomProjectionConfig",
        model="leadline.models.projections:RandomProjection",
        kind="projection",
        title="random projection",
        family="simple",
        embeds_cells=True,
    ),
    "hvg": ModelRow(
        schema="leadline.config.projections:HvgConfig",
        model="leadline.models.projections:Hvg",
        kind="projection",
        title="variable genes",
        family="simple",
        deterministic=True,
        embeds_cells=True,
    ),
    "pca": ModelRow(
        schema="leadline.config.projections:PcaConfig",
        model="leadline.models.projections:Pca",
        kind="projection",
        title="principal components",
        family="simple",
        deterministic=True,
        embeds_cells=True,
        embeds_genes=True,
    ),
    "harmony": ModelRow(
        schema="leadline.config.projections:HarmonyConfig",
        model="leadline.models.projections:Harmony",
        kind="projection",
        title="Harmony",
        family="other",
        deterministic=True,
        embeds_cells=True,
    ),
}


def named(name: str) -> ModelRow:
    """Give the row of a model by the name in its record; any other is a class of somebody's."""
    return ROWS.get(name, ROWS["python"])


def of(chosen: ModelConfig) -> ModelRow:
    """Give the row that a configuration belongs to."""
    for kind in type(chosen).__mro__:
        written = f"{kind.__module__}:{kind.__qualname__}"
        for row in ROWS.values():
            if row.schema == written:
                return row
    raise AssertionError(f"no row in leadline.config.registry has {type(chosen).__name__}")


def installed() -> dict[str, ModelRow]:
    """Give the rows of the models that installed packages offer, by name."""
    own = ROWS["python"]
    return {
        point.name: ModelRow(
            schema=own.schema, model=point.value, kind="external", title=point.name
        )
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)
    }


def imported(path: str) -> Any:
    """Import what is written module:Class."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class Schemas(Mapping[str, type]):
    """Name of a model → class of its settings, imported when it is asked for."""

    def __getitem__(self, name: str) -> type:
        """Import the class."""
        found: type = imported(ROWS[name].schema)
        return found

    def __iter__(self) -> Iterator[str]:
        """List the names."""
        return iter(ROWS)

    def __len__(self) -> int:
        """Count the models."""
        return len(ROWS)

    def __contains__(self, name: object) -> bool:
        """Look the name up without importing anything."""
        return name in ROWS
