"""What a network says of cells: sums over all of them, or probabilities in order.

Legend: C cells, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline import distributed
from leadline.models.network import Batch, BatchSource, DrawKey, TorchModel
from leadline.training.objectives import Objective, Tally
from leadline.training.precision import autocast
from leadline.training.settings import FitSettings
from leadline.training.step import moved, out_of_memory

Found = TypeVar("Found")

Rows: TypeAlias = NDArray[np.int64]


def pieces(
    source: BatchSource, setting: FitSettings, block: int, rows: Rows | None = None
) -> Iterator[Batch]:
    """Cut this rank's slice of the cells, or of these rows of them, into batches."""
    own = own_rows(source, setting, rows)
    for start in range(0, len(own), block):
        moment = DrawKey(seed=setting.seed, epoch=0)
        yield moved(source.batch(own[start : start + block], moment), setting.device)


def own_rows(source: BatchSource, setting: FitSettings, rows: Rows | None = None) -> Rows:
    """Give the rows that this rank predicts: the longest first, if the source knows lengths.

    Cells of a length go together, so that little is padded; the longest show at once whether
    memory will do.
    """
    chosen = np.arange(len(source)) if rows is None else rows
    own = distributed.share_of(chosen, setting.world.rank, setting.world.size)
    lengths_C = getattr(source, "lengths_C", None)
    return own if lengths_C is None else own[np.argsort(-lengths_C[own], kind="stable")]


def score(
    objective: Objective,
    network: nn.Module,
    source: BatchSource,
    setting: FitSettings,
    block: int,
    rows: Rows | None = None,
) -> dict[str, float]:
    """Judge the network on cells, or on these rows of them, which may repeat."""
    return objective.scores(measure(objective, network, source, setting, block, rows))


def as_memory_allows(compute: Callable[[int], Found], block: int) -> Found:
    """Compute with fewer and fewer cells at a time until memory suffices."""
    while True:
        try:
            return compute(block)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or block == 1:
                raise
        block //= 2


@torch.inference_mode()
def measure(
    objective: Objective,
    network: nn.Module,
    source: BatchSource,
    setting: FitSettings,
    block: int,
    rows: Rows | None = None,
) -> Tally:
    """Add up what an objective measures over cells, whichever rank measures which."""
    network.eval()

    def added(block: int) -> Tally:
        whole: Tally = {}
        for batch in pieces(source, setting, block, rows):
            with autocast(setting.train, setting.device):
                found = objective.tally(network, batch)
            whole = {name: found[name] + whole.get(name, 0.0) for name in found}
        return whole

    whole = as_memory_allows(added, block)
    if setting.world.size > 1:
        # A rank without a cell learns from the others what is to be added.
        shapes = distributed.all_gather_objects(
            {k: v.shape for k, v in whole.items()}, setting.world
        )[0]
        full = {name: whole.get(name, np.zeros(shape)) for name, shape in shapes.items()}
        whole = distributed.all_reduce_arrays(full)
    return whole


@torch.inference_mode()
def probabilities(
    model: TorchModel, network: nn.Module, source: BatchSource, setting: FitSettings, block: int
) -> NDArray[np.float64]:
    """Give proba_CK of every cell once, in the order of the cells, on every rank."""
    network.eval()
    found = as_memory_allows(
        lambda block: [said(model, network, x, setting) for x in pieces(source, setting, block)],
        block,
    )
    n_classes = max(
        distributed.all_gather_objects(found[0].shape[1] if found else 0, setting.world)
    )
    empty = torch.zeros((0, n_classes), dtype=torch.float64, device=setting.device)
    own_CK = torch.cat([empty, *found])
    own_CK = own_CK[torch.from_numpy(np.argsort(own_rows(source, setting))).to(own_CK.device)]
    whole_CK: NDArray[np.float64] = (
        distributed.gather_rows(own_CK, len(source), setting.world).cpu().numpy()
    )
    return whole_CK


def said(model: TorchModel, network: nn.Module, batch: Batch, setting: FitSettings) -> Tensor:
    """Give the class probabilities of one batch."""
    with autocast(setting.train, setting.device):
        logits_BK = model.logits(network, batch)
    return logits_BK.double().softmax(dim=1)


def dependence(
    model: TorchModel, network: nn.Module, source: BatchSource, setting: FitSettings, block: int
) -> tuple[float, float]:
    """Predict cells in batches and one by one: share of other labels, largest other probability."""
    together_CK, alone_CK = (
        probabilities(model, network, source, setting, size) for size in (block, 1)
    )
    changed = together_CK.argmax(axis=1) != alone_CK.argmax(axis=1)
    return float(changed.mean()), float(np.abs(together_CK - alone_CK).max())


@torch.inference_mode()
def embedded(
    model: TorchModel, network: nn.Module, source: BatchSource, setting: FitSettings, block: int
) -> dict[str, NDArray[np.float32]]:
    """Give a vector for each cell, and the mean one of each position, on every rank."""
    network.eval()
    cells, sums = [], torch.zeros(0)
    for batch in pieces(source, setting, block):
        with autocast(setting.train, setting.device):
            found = model.embeddings(network, batch)
        cells.append(found["cells"].float())
        if "positions" in found:
            sums = found["positions"].float().cpu() + (sums if len(sums) else 0.0)
    width = max(distributed.all_gather_objects(cells[0].shape[1] if cells else 0, setting.world))
    own_CD = torch.cat([torch.zeros((0, width), device=setting.device), *cells])
    own_CD = own_CD[torch.from_numpy(np.argsort(own_rows(source, setting))).to(own_CD.device)]
    whole_CD = distributed.gather_rows(own_CD, len(source), setting.world)
    arrays = {"embedding": whole_CD.cpu().numpy()}
    parts = [
        part for part in distributed.all_gather_objects(sums.numpy(), setting.world) if len(part)
    ]
    if parts:
        arrays["gene_embedding"] = np.sum(parts, axis=0) / np.float32(len(source))
    return arrays
