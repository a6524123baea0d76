"""Fit and predict for any torch model: any number of devices, any interruption, one result."""

from leadline.training.classifier import Classifier
from leadline.training.fit import FitLoop, FitLoopResult
from leadline.training.frozen import Frozen, frozen_vectors, reconstruction_of
from leadline.training.objectives import Classification, Objective
from leadline.training.settings import Checkpoints, CheckpointsInMemory, FitSettings
from leadline.training.step import NumbersWrong

__all__ = [
    "Classification",
    "Classifier",
    "FitLoop",
    "FitLoopResult",
    "Frozen",
    "frozen_vectors",
    "reconstruction_of",
    "CheckpointsInMemory",
    "NumbersWrong",
    "Objective",
    "FitSettings",
    "Checkpoints",
]
