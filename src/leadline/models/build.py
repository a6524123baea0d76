"""From a model's configuration to the model."""

from __future__ import annotations

from leadline import config
from leadline.models.base import Model

# These choose no epoch on a selection set.
BASELINES = frozenset({"logreg", "majority", "stratified", "nearest_centroid", "knn_pca"})


def build(chosen: config.ModelConfig, *, seed: int) -> Model:
    """Make the model that a configuration describes."""
    # Each room is imported when it is entered: scikit-learn alone takes a second.
    match chosen:
        case config.LogregConfig():
            from leadline.models.logreg import LogisticRegression

            return LogisticRegression(chosen, seed=seed)
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
    raise AssertionError(f"no model for {type(chosen).__name__}")
