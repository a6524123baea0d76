"""Fit and predict for any torch model: any number of devices, any interruption, one result."""

from leadline.trainer.classifier import Classifier
from leadline.trainer.fit import Fit, Fitted
from leadline.trainer.guards import NumbersWrong
from leadline.trainer.objectives import Classification, Objective
from leadline.trainer.setting import Memory, Setting, Vault

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
