"""A torch model as a run sees it: fitted on cells, asked for probabilities."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from leadline import distributed
from leadline.cells import Cells
from leadline.errors import UserError
from leadline.models.base import Fit
from leadline.models.network import TorchModel, trainable
from leadline.trainer import fit as fitting
from leadline.trainer.evaluate import probabilities
from leadline.trainer.objectives import Classification, class_weights
from leadline.trainer.precision import determinism
from leadline.trainer.setting import Setting

# Below this many in a step one thread is faster than several.
MULTIPLICATIONS_FOR_THREADS = 100_000_000


class Classifier:
    """Fits a torch model on labelled cells; keeps the contract of `models.Model`."""

    def __init__(
        self,
        model: TorchModel,
        setting: Setting,
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

    def fit(self, train: Cells, selection: Cells | None) -> Fit:
        """Train, choose the epoch on the selection cells, and take that epoch's weights."""
        require_classes(train)
        setting = self.setting
        # A fork: the process's own generators stand afterwards where they stood before.
        gpus = [setting.device] if setting.device.type == "cuda" else []
        with torch.random.fork_rng(gpus), determinism(setting.train, setting.device) as unable:
            self.network = self._build(train)
            set_threads(setting, self.model.multiplications(self.network))
            fitted = fitting.Fit(
                Classification(self.model, self._weights(train), labels=self.metric_labels),
                self.network,
                self.model.encode(train),
                None if selection is None else self.model.encode(selection),
                setting,
                ids=train.ids,
                before_step=self.model.before_step,
            ).run()
        self.block = fitted.block
        return Fit(
            facts=self._facts(fitted, unable, selected=selection is not None),
            epochs=fitted.rows,
            warnings=[*fitted.warnings, *self._caveats(fitted, selection)],
        )

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give class probabilities, shape (C, K), on every rank."""
        with determinism(self.setting.train, self.setting.device):
            source = self.model.encode(cells)
            return probabilities(self.model, self.network, source, self.setting, self.block)

    def _build(self, train: Cells) -> nn.Module:
        setting = self.setting
        # The one seed of torch's own generator: initial weights are drawn from it. All ranks draw
        # the same; what they draw later, in models with dropout of their own, should differ.
        torch.manual_seed(setting.seed)
        network = self.model.build(train).to(setting.device)
        distributed.same_everywhere(list(network.state_dict().values()))
        torch.manual_seed(setting.seed * 1024 + setting.world.rank + 1)
        if not trainable(network):
            raise UserError(
                "training needs parameters that may change",
                got="a model whose every parameter is frozen",
                remedy="freeze less",
            )
        if setting.train.activation_checkpointing:
            self._keep_no_activations(network)
        return network

    def _keep_no_activations(self, network: nn.Module) -> None:
        blocks = self.model.blocks(network)
        if not blocks:
            raise UserError(
                "train.activation_checkpointing needs a model that names its blocks",
                got=f"{type(self.model).__name__}, which names none",
                remedy="leave it off",
            )
        for block in blocks:
            block.forward = recomputed(block.forward)

    def _weights(self, train: Cells) -> NDArray[np.float64]:
        assert train.labels_C is not None
        n_classes = len(train.classes)
        if self.class_weights == "none":
            return class_weights(None, n_classes)
        if self.class_weights == "whole":
            assert self.whole_K is not None
            return class_weights(self.whole_K, n_classes)
        return class_weights(np.bincount(train.labels_C, minlength=n_classes), n_classes)

    def _facts(self, fitted: fitting.Fitted, unable: set[str], *, selected: bool) -> dict[str, Any]:
        setting, parameters = self.setting, dict(self.network.named_parameters())
        changed = {name: p for name, p in parameters.items() if p.requires_grad}
        on_gpu = setting.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(setting.device) / 2**20 if on_gpu else None
        return {
            "parameters_total": sum(p.numel() for p in parameters.values()),
            "parameters_trainable": sum(p.numel() for p in changed.values()),
            "trainable_groups": groups(changed),
            "epochs": len(fitted.rows),
            "stopped_early": fitted.stopped_early,
            "best_epoch": fitted.best_epoch,
            "selected_by": setting.select_by if selected else "last epoch",
            "class_weights": self.class_weights,
            "steps_skipped_by_fp16": fitted.skipped,
            "deterministic": setting.train.deterministic,
            "not_deterministic": sorted(unable),
            **self.model.facts(self.network),
            "execution": {
                "device": str(setting.device.type),
                "device_name": torch.cuda.get_device_name(setting.device) if on_gpu else None,
                "world_size": setting.world.size,
                "cells_at_a_time": fitted.block,
                "attempts": fitted.resumed + 1,
                "training_seconds": round(fitted.seconds, 3),
                "gpu_seconds": round(fitted.seconds * setting.world.size, 3) if on_gpu else 0.0,
                "peak_gpu_memory_mib": peak,
            },
        }

    def _caveats(self, fitted: fitting.Fitted, selection: Cells | None) -> list[str]:
        """Say where devices or memory may have changed the result, and where nothing was learnt."""
        said = [f"the result depends on how cells are batched: {c}" for c in self.model.caveats()]
        chosen = fitted.rows[fitted.best_epoch - 1]
        many = selection is not None and len(selection) > 1
        if many and chosen["selection_classes_named"] == 1:
            said.append("collapsed: one class is named for every cell of the selection set")
        return said


def recomputed(forward: Any) -> Any:
    """Give a forward pass that keeps no activations and computes them again when needed.

    Our dropout has no state to put back, so torch need not either.
    """

    def run(*inputs: Any, **named: Any) -> Any:
        return recompute(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **named)

    return run


def groups(parameters: dict[str, nn.Parameter]) -> dict[str, int]:
    """Count parameters by the module that holds them."""
    counts: dict[str, int] = {}
    for name, parameter in parameters.items():
        owner = name.rpartition(".")[0] or name
        counts[owner] = counts.get(owner, 0) + parameter.numel()
    return counts


def set_threads(setting: Setting, multiplications: int | None) -> None:
    """Share the cores of a machine among its ranks; a small network takes one for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = setting.train.threads or max(1, (cores or 1) // setting.world.local_size)
    # Two threads that must meet ten times a millisecond are slower than one, on a busy machine
    # ten times slower (docs/log.md).
    small = multiplications is not None and (
        multiplications * setting.train.batch_size < MULTIPLICATIONS_FOR_THREADS
    )
    torch.set_num_threads(1 if small and not setting.train.threads else threads)


def require_classes(train: Cells) -> None:
    """Refuse training cells of a single class."""
    assert train.labels_C is not None
    present = np.unique(train.labels_C)
    if len(present) < 2:
        raise UserError(
            "a classifier needs at least 2 classes among the training cells",
            got=f"{len(train)} cells, all {train.classes[present[0]]!r}",
            remedy="choose another label column or a larger data.fraction",
        )
