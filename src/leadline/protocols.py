"""What `published` means for one dataset and model, and the version of the protocol's code."""

from __future__ import annotations

from dataclasses import replace

from leadline.config import LogregConfig, RunConfig

# Part of every run's identity: raise it when a split or a switch changes its meaning.
VERSION = 1

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
        selection = published_selection(model.name)
    if fewshot == "published":
        fewshot = published_fewshot(config.data.design, model.name)
    if not selects and protocol.baseline_cells == "labelled":
        selection = "none"
    fixed = protocol.regularisation == "published" and config.data.design == "pbmc"
    if fixed and isinstance(model, LogregConfig) and model.C is None:
        model = replace(model, C=PUBLISHED_PBMC_C)
    protocol = replace(protocol, selection=selection, fewshot=fewshot)
    return replace(config, protocol=protocol, model=model)


def published_selection(model: str) -> str:
    """Say on which cells the paper's script chooses the epoch of this model (D24, D31)."""
    return {"scbert": "reported", "scgpt": "holdout"}.get(model, "none")


def published_fewshot(design: str, model: str) -> str:
    """Say how the paper's script draws the labelled cells (D14, D15)."""
    if design != "pbmc":
        return "stratified"
    return "random_stream" if model == "scbert" else "random"
