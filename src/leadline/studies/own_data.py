"""The study of one's own cells with some of its arms only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from leadline import files
from leadline.config.shipped import shipped
from leadline.errors import UserError, nearest


def with_arms(names: Sequence[str], runs_dir: Path) -> Path:
    """Write `own_data` with these arms and its reference into `runs_dir`; give the file's path.

    An arm brings what it is measured against along.
    """
    said = yaml.safe_load((shipped("ablations") / "own_data.yaml").read_text(encoding="utf-8"))
    arms, reference = said["arms"], said["reference"]
    for name in names:
        if name not in arms:
            raise UserError(
                "models must be arms of the study own_data",
                got=repr(name),
                remedy=nearest(name, arms),
            )
    kept = {reference, *names, *(arms[name].get("against", reference) for name in names)}
    said["arms"] = {name: arm for name, arm in arms.items() if name in kept}
    pretrained = [str(arm.get("model.pretrained")) for arm in said["arms"].values()]
    said["pretraining"] = {
        name: settings for name, settings in said["pretraining"].items() if f"@{name}" in pretrained
    }
    pairs = [pair for pair in said["compare"]["pairs"] if set(pair) <= kept]
    said["compare"]["pairs"] = pairs or [
        [name, reference] for name in said["arms"] if name != reference
    ]
    said = {key: value for key, value in said.items() if value}
    chosen = [name for name in said["arms"] if name != reference]
    path = runs_dir / "studies" / f"own_data_{'_'.join(chosen) or reference}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, yaml.safe_dump(said, sort_keys=False))
    return path
