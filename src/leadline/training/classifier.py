"""A torch model as a run sees it: fitted on cells, asked for probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from leadline.data.cells import Cells
from leadline.errors import UserError
from leadline.models.base import FitResult, require_two_classes
from leadline.models.network import TorchModel
from leadline.training import checkpoint
from leadline.training import fit as fitting
from leadline.training.build import caveats_of, facts_of, make_network, set_threads
from leadline.training.evaluate import dependence, embedded, probabilities
from leadline.training.objectives import Classification, class_weights
from leadline.training.precision import numerics
from leadline.training.settings import FitSettings

# So many cells at least show what it changes that cells are predicted together.
CELLS_PREDICTED_ALONE = 64


class Classifier:
    """Fits a torch model on labelled cells; keeps the contract of `models.Model`."""

    def __init__(
        self,
        model: TorchModel,
        setting: FitSettings,
        *,
        metric_labels: str = "truth",
        class_weights: str = "none",
        whole_K: NDArray[np.int64] | None = None,
    ) -> None:
        """Take a model and how to fit it.

        `class_weights` is `none`, `train` or `whole`; the last needs `whole_K`, the number of
        cells of each class in the whole data set.
        """
        self.model, self.setting = model, setting
        self.metric_labels, self.class_weights, self.whole_K = metric_labels, class_weights, whole_K
        self.accepts = model.accepts

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Train, choose the epoch on the selection cells, and take that epoch's weights."""
        require_two_classes(train)
        require_embeddings(self.model, self.setting)
        setting = self.setting
        # A fork: the process's own generators stand afterwards where they stood before.
        gpus = [setting.device] if setting.device.type == "cuda" else []
        with torch.random.fork_rng(gpus), numerics(setting.train, setting.device) as unable:
            self.network = make_network(lambda: self.model.build(train), self.model, setting)
            set_threads(setting, self.model.multiplications(self.network))
            fitted = fitting.FitLoop(
                Classification(self.model, self._weights(train), labels=self.metric_labels),
                self.network,
                self.model.encode(train),
                None if selection is None else self.model.encode(selection),
                setting,
                ids=train.ids,
                before_step=self.model.before_step,
            ).run()
        self.block, self.caveats = fitted.block, caveats_of(self.model, setting)
        return FitResult(
            facts=self._facts(fitted, unable, selected=selection is not None),
            epochs=fitted.rows,
            warnings=[
                *fitted.warnings,
                *self._caveats(fitted, selection),
                *self.model.warnings(self.network),
            ],
        )

    def recall(self, train: Cells, name: str) -> None:
        """Build the network as `fit` does, around weights that the vault kept under this name."""
        setting = self.setting
        gpus = [setting.device] if setting.device.type == "cuda" else []
        with torch.random.fork_rng(gpus), numerics(setting.train, setting.device):
            self.network = make_network(lambda: self.model.build(train), self.model, setting)
        set_threads(setting, self.model.multiplications(self.network))
        stored = checkpoint.read(name, setting)
        if stored is None:
            raise FileNotFoundError(f"no {name} was kept")
        self.network.load_state_dict(stored["network"])
        self.block = setting.train.batch_size

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give class probabilities, shape (C, K), on every rank."""
        with numerics(self.setting.train, self.setting.device):
            source = self.model.encode(cells)
            return probabilities(self.model, self.network, source, self.setting, self.block)

    def effect_of_batches(self, cells: Cells) -> list[str]:
        """Measure on some cells what it changes that they are predicted together, if it may."""
        if not self.caveats:
            return []
        sample = cells.take(np.arange(min(len(cells), max(self.block, CELLS_PREDICTED_ALONE))))
        with numerics(self.setting.train, self.setting.device):
            changed, largest = dependence(
                self.model, self.network, self.model.encode(sample), self.setting, self.block
            )
        return [
            f"predicted one by one instead of {self.block} at a time, {changed:.1%} of "
            f"{len(sample)} cells change their label (largest change of a probability: "
            f"{largest:.2g})"
        ]

    def embed(self, cells: Cells) -> dict[str, NDArray[Any]]:
        """Give a vector for each cell, and for each gene where the model has them."""
        with numerics(self.setting.train, self.setting.device):
            source = self.model.encode(cells)
            arrays = embedded(self.model, self.network, source, self.setting, self.block)
        names = np.array(self.model.position_names(), dtype=np.str_)
        return {"ids": cells.ids, **arrays, **({"genes": names} if len(names) else {})}

    def _weights(self, train: Cells) -> NDArray[np.float64]:
        assert train.labels_C is not None
        n_classes = len(train.classes)
        if self.class_weights == "none":
            return class_weights(None, n_classes)
        if self.class_weights == "whole":
            assert self.whole_K is not None
            return class_weights(self.whole_K, n_classes)
        return class_weights(np.bincount(train.labels_C, minlength=n_classes), n_classes)

    def _facts(
        self, fitted: fitting.FitLoopResult, unable: set[str], *, selected: bool
    ) -> dict[str, Any]:
        return {
            **facts_of(fitted, self.network, self.setting, unable, selected=selected),
            "class_weights": self.class_weights,
            **self.model.facts(self.network),
        }

    def _caveats(self, fitted: fitting.FitLoopResult, selection: Cells | None) -> list[str]:
        """Say where devices or memory may have changed the result, and where nothing was learnt."""
        said = [f"the result depends on how cells are batched: {c}" for c in self.caveats]
        chosen = fitted.rows[fitted.best_epoch - 1]
        many = selection is not None and len(selection) > 1
        if many and chosen["selection_classes_named"] == 1:
            said.append("collapsed: one class is named for every cell of the selection set")
        return said


def require_embeddings(model: TorchModel, setting: FitSettings) -> None:
    """Refuse to keep embeddings of a model that has none."""
    if setting.train.save_embeddings and type(model).embeddings is TorchModel.embeddings:
        raise UserError(
            "train.save_embeddings needs a model that places cells",
            got=f"{type(model).__name__}, which does not",
            remedy="use model=scbert or model=scgpt, or leave it off",
        )
