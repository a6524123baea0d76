"""A network before its fit and the account of it afterwards; the same for every task."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from leadline import distributed, processes
from leadline.errors import UserError
from leadline.models.network import TorchModel, trainable
from leadline.training.fit import FitLoopResult
from leadline.training.precision import products
from leadline.training.settings import FitSettings

# Below this many in a step one thread is used: several are hardly faster and, on a busy machine,
# slower; and sums come out the same to the last bit whatever share of a machine a process has.
MULTIPLICATIONS_FOR_THREADS = 500_000_000


def make_network(
    make: Callable[[], nn.Module], model: TorchModel, setting: FitSettings
) -> nn.Module:
    """Make a network from the seed, on its device, alike on all ranks."""
    # The one seed of torch's own generator: initial weights are drawn from it. All ranks draw
    # the same; what they draw later, in models with dropout of their own, should differ.
    torch.manual_seed(setting.seed)
    network = make().to(setting.device)
    distributed.broadcast(list(network.state_dict().values()))
    torch.manual_seed(setting.seed * 1024 + setting.world.rank + 1)
    if not trainable(network):
        raise UserError(
            "training needs parameters that may change",
            got="a model whose every parameter is frozen",
            remedy="freeze less",
        )
    if setting.train.activation_checkpointing:
        keep_no_activations(model, network)
    return network


def keep_no_activations(model: TorchModel, network: nn.Module) -> None:
    """Let the blocks of a network compute their activations again when they are needed."""
    blocks = model.blocks(network)
    if not blocks:
        raise UserError(
            "train.activation_checkpointing needs a model that names its blocks",
            got=f"{type(model).__name__}, which names none",
            remedy="leave it off",
        )
    for block in blocks:
        block.forward = recomputed(block.forward)


def facts_of(
    fitted: FitLoopResult,
    network: nn.Module,
    setting: FitSettings,
    unable: set[str],
    *,
    selected: bool,
) -> dict[str, Any]:
    """Give what the record says of a fit; `selected` says whether there were selection cells."""
    parameters = dict(network.named_parameters())
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
        "steps_skipped_by_fp16": fitted.skipped,
        "deterministic": setting.train.deterministic,
        "not_deterministic": sorted(unable),
        "execution": {
            "device": str(setting.device.type),
            "device_name": torch.cuda.get_device_name(setting.device) if on_gpu else None,
            "matmul": products(setting.train, setting.device),
            "world_size": setting.world.size,
            "cells_at_a_time": fitted.block,
            "attempts": fitted.resumed + 1,
            "training_seconds": round(fitted.seconds, 3),
            "gpu_seconds": round(fitted.seconds * setting.world.size, 3) if on_gpu else 0.0,
            "peak_gpu_memory_mib": peak,
        },
    }


def caveats_of(model: TorchModel, setting: FitSettings) -> list[str]:
    """Give what a model says of batches on any rank: ranks may have run other kernels."""
    told = distributed.all_gather_objects(list(model.caveats()), setting.world)
    return list(dict.fromkeys(chain.from_iterable(told)))


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


def set_threads(setting: FitSettings, multiplications: int | None) -> None:
    """Share the cores of a machine among its ranks; a small network takes one for each."""
    threads = setting.train.threads or max(1, processes.available() // setting.world.local_size)
    # Two threads that must meet ten times a millisecond are slower than one, on a busy machine
    # ten times slower (docs/log.md).
    small = multiplications is not None and (
        multiplications * setting.train.batch_size < MULTIPLICATIONS_FOR_THREADS
    )
    torch.set_num_threads(1 if small and not setting.train.threads else threads)
