"""A network that is not trained: its vectors of cells, as the weights it starts from give them.

Shapes: C cells, G genes, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from leadline.data.cells import Cells
from leadline.errors import UserError
from leadline.models.base import GeneVectors
from leadline.models.network import DrawKey, Pretrainable, TorchModel
from leadline.training.build import make_network, set_threads
from leadline.training.evaluate import embedded
from leadline.training.precision import autocast, determinism
from leadline.training.settings import FitSettings
from leadline.training.step import moved

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Frozen:
    """Vectors of cells, and what the record says of the network that gave them."""

    vectors_CD: NDArray[np.float32]
    facts: Mapping[str, Any]


def reconstruction_of(model: TorchModel, cells: Cells, setting: FitSettings) -> dict[str, float]:
    """Ask a pretrained network for bins that show and bins that are hidden; empty if it cannot.

    Floors are learnt from other folds of the same cells.
    """
    if not isinstance(model, Pretrainable):
        return {}
    fold_C = np.random.default_rng(setting.seed).permutation(len(cells)) % FOLDS
    gpus = [setting.device] if setting.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), determinism(setting.train, setting.device):
        network = make_network(lambda: model.build_masked(cells), model, setting)
        return model.reconstruction_scores(network, cells, fold_C, setting.seed)


def require_vectors(model: TorchModel, method: str, vectors: str) -> None:
    """Refuse a network that does not define the method by which such vectors are asked for."""
    if getattr(type(model), method) is getattr(TorchModel, method):
        raise UserError(
            f"task_settings.vectors={vectors} needs a network that has such vectors",
            got=f"{type(model).__name__}, which has none",
            remedy="use model=scbert or model=scgpt",
        )


def frozen_vectors(
    model: TorchModel, cells: Cells, setting: FitSettings, vectors: str = "cells"
) -> Frozen:
    """Build the network around its first weights, or the seed's, and ask for vectors of cells.

    `bag_of_genes` asks no layer: it averages the input vectors of the genes of a cell, weighted by
    log-normalised expression.
    """
    require_vectors(model, "embeddings" if vectors == "cells" else "gene_vectors", vectors)
    gpus = [setting.device] if setting.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), determinism(setting.train, setting.device):
        network = make_network(lambda: model.build(cells), model, setting)
        set_threads(setting, model.multiplications(network))
        if vectors == "cells":
            source = model.encode(cells)
            block = setting.train.batch_size
            found_CD = embedded(model, network, source, setting, block)["embedding"]
        else:
            found_CD = bag_of_genes(model, network, cells)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Frozen(
        np.ascontiguousarray(found_CD, dtype=np.float32),
        {
            "parameters_total": parameters,
            "parameters_trainable": 0,
            **model.facts(network),
            "execution": {
                "device": str(setting.device.type),
                "world_size": setting.world.size,
                "cells_at_a_time": setting.train.batch_size,
            },
        },
    )


def frozen_gene_vectors(
    model: TorchModel, control: Cells, setting: FitSettings, vectors: str = "outputs"
) -> GeneVectors:
    """Build the network around its first weights, or the seed's, and ask for vectors of genes.

    `outputs`: what the last layer makes of each gene, mean over the control cells that show it;
    `table`: the input vectors, which need no cells. Genes that are never shown have none.
    """
    require_vectors(model, "gene_outputs" if vectors == "outputs" else "gene_table", vectors)
    gpus = [setting.device] if setting.device.type == "cuda" else []
    with (
        torch.random.fork_rng(gpus),
        determinism(setting.train, setting.device),
        torch.inference_mode(),
    ):
        network = make_network(lambda: model.build(control), model, setting)
        set_threads(setting, model.multiplications(network))
        network.eval()
        if vectors == "table":
            names, table = model.gene_table(network)
            vectors_GD, shown_G = table.double().cpu().numpy(), np.ones(len(names))
        else:
            names, vectors_GD, shown_G = mean_outputs(model, network, control, setting)
    known_G = (shown_G > 0) & np.array([not name.startswith("<") for name in names])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return GeneVectors(
        genes=np.asarray(names, dtype=np.str_)[known_G].tolist(),
        vectors_GD=vectors_GD[known_G],
        facts={
            "parameters_total": parameters,
            "parameters_trainable": 0,
            **model.facts(network),
            "execution": {"device": str(setting.device.type), "world_size": setting.world.size},
        },
    )


def mean_outputs(
    model: TorchModel, network: nn.Module, control: Cells, setting: FitSettings
) -> tuple[Sequence[str], NDArray[np.float64], NDArray[np.float64]]:
    """Average each gene's outputs over cells; give names, means, and how often each was shown."""
    source, block = model.encode(control), setting.train.batch_size
    moment = DrawKey(seed=setting.seed, epoch=0)
    total_VD, shown_V = None, np.zeros(len(model.output_names()))
    for start in range(0, len(source), block):
        rows = np.arange(start, min(start + block, len(source)))
        batch = moved(source.batch(rows, moment), setting.device)
        with autocast(setting.train, setting.device):
            sum_VD, count_V = model.gene_outputs(network, batch)
        own_VD = sum_VD.double().cpu().numpy()
        total_VD = own_VD if total_VD is None else total_VD + own_VD
        shown_V += count_V.cpu().numpy()
    assert total_VD is not None
    return model.output_names(), total_VD / np.maximum(shown_V, 1)[:, None], shown_V


@torch.inference_mode()
def bag_of_genes(model: TorchModel, network: nn.Module, cells: Cells) -> NDArray[np.float32]:
    """Average input gene vectors of each cell by its expression; 0 for a cell without any."""
    network.eval()
    vectors_GD = model.gene_vectors(network, cells).double().cpu().numpy()
    weight_CG = cells.lognorm().astype(np.float64)
    total_C = np.asarray(weight_CG.sum(axis=1)).ravel()
    sum_CD = np.asarray(weight_CG @ vectors_GD)
    mean_CD = sum_CD / np.where(total_C > 0, total_C, 1.0)[:, None]
    return mean_CD.astype(np.float32)
