"""From a model's configuration to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leadline import config
from leadline.models.base import Model

if TYPE_CHECKING:
    from leadline.models.network import Start, TorchModel

# These choose no epoch on a selection set.
BASELINES = frozenset(
    {
        "knn_pca",
        "logreg",
        "majority",
        "nearest_centroid",
        "stratified",
    }
)

# Neither do these: what others made, a class or positions of cells.
GUESTS = (config.PythonConfig, config.EmbeddingConfig)

# What is solved at once, without epochs and without labels.
SOLVED = (config.Gene2vecConfig,)


def learns_by_epochs(chosen: config.ModelConfig) -> bool:
    """Say whether the trainer fits a model, which then may choose an epoch."""
    return chosen.name not in BASELINES and not isinstance(chosen, GUESTS + SOLVED)


def build(
    chosen: config.ModelConfig,
    *,
    seed: int,
    threads: int = 1,
    cache: Path | None = None,
    device: str = "cpu",
) -> Model:
    """Make the model that a configuration describes.

    `cache` is a folder for solutions that other runs can share; without one nothing is kept.
    """
    # Each room is imported when it is entered: scikit-learn alone takes a second.
    match chosen:
        case config.LogregConfig():
            from leadline.models.logreg import LogisticRegression

            return LogisticRegression(
                chosen, seed=seed, threads=threads, cache=cache, device=device
            )
        case config.MajorityConfig():
            from leadline.models.controls import Majority

            return Majority()
        case config.StratifiedConfig():
            from leadline.models.controls import Stratified

            return Stratified(seed=seed)
        case config.NearestCentroidConfig():
            from leadline.models.controls import NearestCentroid

            return NearestCentroid(chosen)
        case config.KnnPcaConfig():
            from leadline.models.controls import KnnPca

            return KnnPca(chosen, seed=seed)
        case config.PythonConfig():
            from leadline.models.external.python_class import OwnModel

            return OwnModel(chosen, seed=seed)
        case config.EmbeddingConfig():
            from leadline.models.external.embedding import Probe

            return Probe(chosen)
    raise AssertionError(f"no model for {type(chosen).__name__}")


def build_network(
    chosen: config.ModelConfig, *, train: config.TrainConfig, start: Start | None = None
) -> TorchModel:
    """Make the model that the trainer fits, for the names that are no baselines.

    `start` is where its first weights come from; without one they are drawn.
    """
    match chosen:
        case config.MlpConfig():
            from leadline.models.mlp import Mlp
            from leadline.models.network import require_freeze

            require_freeze(train.freeze, ("none",), chosen.name)
            return Mlp(chosen)
        case config.ScbertConfig():
            from leadline.models.scbert.model import Scbert

            return Scbert(chosen, freeze=train.freeze, start=start)
        case config.ScgptConfig():
            from leadline.models.scgpt.model import Scgpt

            return Scgpt(chosen, freeze=train.freeze, start=start)
    raise AssertionError(f"no network for {type(chosen).__name__}")
