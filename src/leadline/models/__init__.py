"""The models that can be run, behind one small interface."""

from leadline.models.base import Fit, Model
from leadline.models.build import BASELINES, build

__all__ = ["BASELINES", "Fit", "Model", "build"]
