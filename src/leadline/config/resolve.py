"""What `published` means for one dataset and model, and the version of the protocol's code."""

from __future__ import annotations

from dataclasses import replace

from leadline.config import MODEL_SWITCHES, TRAINING_SWITCHES, LogregConfig, RunConfig, ScbertConfig
from leadline.config.tasks import TASKS

# Part of every run's identity: raise it when a split or a switch changes its meaning.
VERSION = 1

# The paper fixed C on PBMC after an earlier cross-validation (D13).
PUBLISHED_PBMC_C = 0.1

# What the paper's code does where a switch belongs to one model.
PUBLISHED_MODEL = {
    "stabiliser": "batch",
    "one_vs_rest": "one_stream",
    "ties": "random",
    "attention_start": "linear",
}


def resolve(config: RunConfig, *, selects: bool) -> RunConfig:
    """Replace every `published` by the explicit value that the paper's code has there.

    `selects` says whether the model chooses an epoch on a selection set. A baseline does not:
    with `baseline_cells=labelled` it is fitted on the selection cells as well.
    """
    protocol, model = config.protocol, config.model
    selection, fewshot = protocol.selection, protocol.fewshot
    if selection == "published":
        selection = published_selection(model.name, selects=selects)
        selection = TASKS[config.task].published_selection or selection
    if fewshot == "published":
        fewshot = published_fewshot(config.data.design, model.name)
    if not selects and protocol.baseline_cells == "labelled":
        selection = "none"
    fixed = protocol.regularisation == "published" and config.data.design == "pbmc"
    if fixed and isinstance(model, LogregConfig) and model.C is None:
        model = replace(model, C=PUBLISHED_PBMC_C)
    known = {switch: published_training(switch, model.name) for switch in TRAINING_SWITCHES}
    known["order"] = TASKS[config.task].published_order or known["order"]
    protocol = replace(protocol)
    for switch, published in (known | PUBLISHED_MODEL).items():
        if getattr(protocol, switch) == "published":
            setattr(protocol, switch, published)
    told = {s: getattr(protocol, s) for s in MODEL_SWITCHES if getattr(model, s, "") == "auto"}
    if isinstance(model, LogregConfig) and model.solver != "liblinear":
        told["one_vs_rest"] = "separate"
    model = replace(model, **told)
    if isinstance(model, ScbertConfig) and model.redraw_every is None:
        model = replace(model, redraw_every=config.train.redraw_every)
    protocol = replace(protocol, selection=selection, fewshot=fewshot)
    return replace(config, protocol=protocol, model=model)


def published_selection(model: str, *, selects: bool) -> str:
    """Say on which cells the paper's script chooses the epoch of this model (D24, D31).

    For a network that the paper does not have, scGPT's way is taken.
    """
    return {"scbert": "reported"}.get(model, "holdout_scgpt" if selects else "none")


def published_training(switch: str, model: str) -> str:
    """Say how the paper's script trains this model (D25; scGPT's loader does not shuffle)."""
    other = {
        "select_by": "accuracy",
        "class_weights": "none",
        "order": "shuffled",
        "named_classes": "trained",
    }
    scbert = other | {"class_weights": "whole", "named_classes": "all"}
    scgpt = other | {"select_by": "loss", "order": "fixed", "named_classes": "all"}
    return {"scbert": scbert, "scgpt": scgpt}.get(model, other)[switch]


def published_fewshot(design: str, model: str) -> str:
    """Say how the paper's script draws the labelled cells (D14, D15)."""
    if design != "pbmc":
        return "stratified"
    return "random_stream" if model == "scbert" else "random"
