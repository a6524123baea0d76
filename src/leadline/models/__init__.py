"""The models that can be run, behind one small interface."""

from typing import TYPE_CHECKING

from leadline.models.base import FitResult, Model
from leadline.models.registry import build, build_network, learns_by_epochs

if TYPE_CHECKING:
    # Imports torch, which takes a second that baselines need not spend.
    from leadline.models.network import TorchModel as TorchModel

__all__ = ["FitResult", "Model", "build", "build_network", "learns_by_epochs"]
