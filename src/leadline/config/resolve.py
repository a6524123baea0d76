"""What `published` means for one dataset and model, and the version of the protocol's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from leadline.config import (
    TRAINING_SWITCHES,
    LogregConfig,
    RunConfig,
    ScbertConfig,
    registry,
    science,
)
from leadline.errors import UserError

# Part of every run's identity: raise it when a split or a switch changes its meaning.
VERSION = 1

# What has no meaning without labels.
NOT_FOR_PRETRAINING = ("class_weights", "metric_labels")

# The paper fixed C on PBMC after an earlier cross-validation (D13).
PUBLISHED_PBMC_C = 0.1


def resolve(config: RunConfig, *, selects: bool) -> RunConfig:
    """Replace every `published` by the explicit value that the paper's code has there.

    `selects` says whether the model chooses an epoch on a selection set. A baseline does not:
    with `baseline_cells=labelled` it is fitted on the selection cells as well.
    """
    protocol, model = config.protocol, config.model
    selection, fewshot = protocol.selection, protocol.fewshot
    if selection == "published":
        selection = published_selection(model.name, selects=selects)
        if config.task == "pretrain":
            # The paper takes a checkpoint by the number of its epoch: the last one.
            selection = "none"
    if fewshot == "published":
        fewshot = published_fewshot(config.data.design, model.name)
    if not selects and protocol.baseline_cells == "labelled":
        selection = "none"
    fixed = protocol.regularisation == "published" and config.data.design == "pbmc"
    if fixed and isinstance(model, LogregConfig) and model.C is None:
        model = replace(model, C=PUBLISHED_PBMC_C)
    stabiliser = "batch" if protocol.stabiliser == "published" else protocol.stabiliser
    if isinstance(model, ScbertConfig) and model.stabiliser == "auto":
        model = replace(model, stabiliser=stabiliser)
    training: dict[str, Any] = {
        switch: published_training(switch, model.name)
        for switch in TRAINING_SWITCHES
        if getattr(protocol, switch) == "published"
    }
    protocol = replace(
        protocol, selection=selection, fewshot=fewshot, stabiliser=stabiliser, **training
    )
    return replace(config, protocol=protocol, model=model)


def identity(
    config: RunConfig, *, selects: bool, origins: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Give what a run computes: a baseline does not change with what it never reads.

    `origins` says for settings of the model that name a file or a run what they stand for.
    """
    whole = science(config)
    whole["model"] |= origins or {}
    if config.task == "pretrain":
        for switch in NOT_FOR_PRETRAINING:
            whole["protocol"].pop(switch)
    if not selects:
        del whole["train"]
        for switch in TRAINING_SWITCHES:
            whole["protocol"].pop(switch, None)
    assert isinstance(whole, dict)
    return whole


def require_task(config: RunConfig, *, pretrains: bool) -> None:
    """Refuse what does not go with the task; `pretrains` says whether the model can be pretrained.

    Raises
    ------
    UserError
        When a setting belongs to the other task.
    """
    model = config.model.name
    if config.task == "classify":
        if registry.named(model).kind == "embedding":
            raise UserError(
                f"model={model} embeds genes and names no cells",
                got="task=classify",
                remedy="add task=pretrain; model=scbert model.gene2vec=<its run id> reads it",
            )
        return
    if not pretrains:
        raise UserError(
            "task=pretrain needs a model that learns genes from genes",
            got=f"model={model}",
            remedy="use model=scbert, model=scgpt or model=gene2vec",
        )
    freeze, first = getattr(config.train, "freeze", "none"), getattr(config.model, "pretrained", "")
    refused = {
        f"train.freeze={freeze}": freeze != "none",
        f"model.pretrained={first}": first.lower() not in ("", "false"),
        "protocol.select_by=macro_f1": config.protocol.select_by == "macro_f1",
    }
    for word, wrong in refused.items():
        if wrong:
            raise UserError(
                "a pretraining run starts from scratch, trains every weight, and chooses its epoch "
                "by accuracy or loss",
                got=word,
                remedy="leave it out",
            )


def published_selection(model: str, *, selects: bool) -> str:
    """Say on which cells the paper's script chooses the epoch of this model (D24, D31).

    For a network that the paper does not have, scGPT's way is taken.
    """
    return {"scbert": "reported"}.get(model, "holdout" if selects else "none")


def published_training(switch: str, model: str) -> str:
    """Say how the paper's script trains this model (D25; scGPT's loader does not shuffle)."""
    scbert = {"select_by": "accuracy", "class_weights": "whole", "order": "shuffled"}
    scgpt = {"select_by": "loss", "class_weights": "none", "order": "fixed"}
    other = {"select_by": "accuracy", "class_weights": "none", "order": "shuffled"}
    return {"scbert": scbert, "scgpt": scgpt}.get(model, other)[switch]


def published_fewshot(design: str, model: str) -> str:
    """Say how the paper's script draws the labelled cells (D14, D15)."""
    if design != "pbmc":
        return "stratified"
    return "random_stream" if model == "scbert" else "random"
