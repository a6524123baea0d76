"""One line of each page: whether its pretrained models have seen the cells that it reports on.

It is read from the settings of the runs and the registry of corpora; records know no more, and
are not changed by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.config.corpora import Seen, SeenLevel, corpora, stated
from leadline.report.study import StudyResults, flat_config

RUN_ID = re.compile(r".+-[0-9a-f]{12}")
NOT_PRETRAINED = ("", "false", "none")
# Models whose settings do not say what made the vectors, or the weights, that they bring.
FOREIGN = ("embedding", "python", "external")


def sentence(study: StudyResults) -> str:
    """Say for each pretrained model and data set of a study which level holds."""
    found: dict[str, None] = {}
    for config in study.configs.values():
        seen = seen_by_run(config, study.runs_dir)
        if seen is not None:
            whose = f"{config.get('model.name')} on {config.get('data.name')}"
            found[f"{whose}: {seen}"] = None
    if not found:
        return "Seen in pretraining? No run of this page starts from pretrained weights."
    return f"Seen in pretraining? {'; '.join(sorted(found))}."


def seen_by_run(config: Mapping[str, Any], runs_dir: Path) -> Seen | None:
    """Give the level of one run; None where it starts from nothing."""
    model, word = str(config.get("model.name")), config.get("model.pretrained")
    start = "" if word is None else str(word).strip()
    if model in FOREIGN and start.lower() != "false":
        return Seen(
            level=SeenLevel.UNKNOWN, why="no record says what it was pretrained on, if it was"
        )
    if start.lower() in NOT_PRETRAINED:
        return None
    run_id = start.rstrip("/").rsplit("/", 1)[-1]
    if RUN_ID.fullmatch(run_id):
        return seen_by_own_pretraining(config, run_id, runs_dir)
    if start.lower() == "published" and model in corpora():
        return stated(corpora()[model], str(config.get("data.name")))
    return Seen(level=SeenLevel.UNKNOWN, why="nobody says what these weights were made from")


def seen_by_own_pretraining(config: Mapping[str, Any], run_id: str, runs_dir: Path) -> Seen:
    """Give the level of a run that starts from a pretraining of ours, whose cells are known."""
    before = flat_config(runs_dir / run_id)
    if not before:
        return Seen(level=SeenLevel.UNKNOWN, why=f"the record of {run_id} is not here")
    earlier = seen_by_run({**before, "data.name": config.get("data.name")}, runs_dir)
    if earlier is not None:
        return earlier
    return Seen(
        level=SeenLevel.HASH,
        why="its pretraining kept a hash of each cell that it saw, and what would report on one "
        "of them is refused: none was seen",
    )
