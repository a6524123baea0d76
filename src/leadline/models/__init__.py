"""The models that can be run, behind one small interface."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leadline.models.base import FitResult, Model
from leadline.models.registry import build, build_network, learns_by_epochs

if TYPE_CHECKING:
    # Imports scikit-learn, which only those who ask for it need.
    from leadline.models.logreg.estimator import L1Path as L1Path

    # Imports torch, which takes a second that baselines need not spend.
    from leadline.models.network import TorchModel as TorchModel

__all__ = ["FitResult", "Model", "build", "build_network", "learns_by_epochs"]


def __getattr__(name: str) -> Any:
    """Import the estimator when it is first asked for."""
    if name == "L1Path":
        return import_module("leadline.models.logreg.estimator").L1Path
    raise AttributeError(f"module 'leadline.models' has no attribute {name!r}")
