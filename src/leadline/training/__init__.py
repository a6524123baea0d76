"""Fit and predict for any torch model: any number of devices, any interruption, one result."""

from leadline.training.classifier import Classifier
from leadline.training.fit import Fit, Fitted
from leadline.training.objectives import Classification, Objective
from leadline.training.settings import Memory, Setting, Vault
from leadline.training.step import NumbersWrong

__all__ = [
    "Classification",
    "Classifier",
    "Fit",
    "Fitted",
    "Memory",
    "NumbersWrong",
    "Objective",
    "Setting",
    "Vault",
]
