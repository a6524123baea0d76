"""In what two arms differ: an ablation that changes two things at once explains neither."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from leadline.config import SCHEMAS, TRAINING_SWITCHES, RunConfig
from leadline.config.shipped import shipped
from leadline.errors import UserError
from leadline.models import learns_by_epochs
from leadline.studies.schema import Arm, Settings


def differing(ours: Settings, theirs: Settings, configs: tuple[RunConfig, RunConfig]) -> list[str]:
    """Name the factors in which two arms differ, as the settings that make the difference.

    A model comes with its own settings and its own way of training: together they are one factor,
    `model`. So is any other group from which the arms take different options. Settings that do
    not change what is computed do not count.
    """
    usual = usual_options()
    chosen = [{group: arm.get(group, usual[group]) for group in usual} for arm in (ours, theirs)]
    groups = {group for group in usual if chosen[0][group] != chosen[1][group]}
    single = {key for key in {*ours, *theirs} - set(SCHEMAS) if is_changed(key, configs)}
    if not any(learns_by_epochs(config.model) for config in configs):
        unread = {f"protocol.{switch}" for switch in TRAINING_SWITCHES}
        groups.discard("train")
        single = {key for key in single - unread if not key.startswith("train.")}
    if "model" in groups:
        groups.discard("train")
        single = {key for key in single if not key.startswith(("model.", "train."))}
    # The one that says more comes first.
    return sorted(groups - {"tracker"}) + sorted(single)


def is_changed(key: str, configs: tuple[RunConfig, RunConfig]) -> bool:
    """Say whether a setting is science and has two values."""
    if not is_science(key, configs[0]) or not is_science(key, configs[1]):
        return False
    first, second = (comparable(value_at(key, config)) for config in configs)
    return first != second


def comparable(value: Any) -> str:
    """Write a value so that two are the same text if a run's id takes them for the same."""
    # A setting that is `false` or a text is text, whichever way YAML writes it.
    if isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower()
    return json.dumps(value, sort_keys=True, default=repr)


def is_science(key: str, config: Any) -> bool:
    """Say whether a setting changes what is computed, where the configuration has it."""
    for part in key.split("."):
        known = {item.name: item for item in fields(config)} if is_dataclass(config) else {}
        if part not in known:
            return True
        if known[part].metadata.get("operational"):
            return False
        config = getattr(config, part)
    return True


def value_at(key: str, config: Any) -> Any:
    """Give the value of a dotted setting, or None where the configuration has no such setting."""
    for part in key.split("."):
        config = getattr(config, part, None)
    return config


def has(key: str, config: RunConfig) -> bool:
    """Say whether a run has a setting, so that it can be changed."""
    head, _, last = key.rpartition(".")
    owner = value_at(head, config) if head else config
    return hasattr(owner, last)


def usual_options() -> dict[str, str]:
    """Give the option that each group has when nobody chooses one."""
    said = yaml.safe_load((shipped("conf") / "config.yaml").read_text())["defaults"]
    return {
        group: option
        for item in said
        if isinstance(item, dict)
        for group, option in item.items()
        if group in SCHEMAS
    }


def check_factors(
    arms: Mapping[str, Arm],
    settings: Mapping[str, Settings],
    configs: Mapping[str, RunConfig],
    *,
    as_filed: bool,
) -> dict[str, list[str]]:
    """Give the factors of each arm that is measured against another, or refuse the arm.

    `as_filed` says that the study stands as its file has it: a word on the command line may make
    equal what differs in the file.
    """
    found = {}
    for arm in arms.values():
        if arm.against is None:
            continue
        pair = (configs[arm.name], configs[arm.against])
        factors = differing(settings[arm.name], settings[arm.against], pair)
        check_arm(arm, factors, as_filed=as_filed)
        found[arm.name] = factors
    return found


def check_arm(arm: Arm, factors: list[str], *, as_filed: bool) -> None:
    """Refuse an arm that differs in nothing, or in more than is accounted for."""
    if not factors:
        raise UserError(
            f"arm {arm.name} must differ from {arm.against}",
            got="two arms that compute the same",
            remedy="change one setting, or leave the arm out",
        )
    if as_filed:
        for key in arm.also:
            if key not in factors:
                raise UserError(
                    f"arm {arm.name}: also may name what differs from {arm.against} beside its "
                    "factor",
                    got=f"{key!r}, while {', '.join(factors)} differs",
                    remedy="leave it out",
                )
    unexplained = [factor for factor in factors if factor not in arm.also]
    if len(unexplained) > 1:
        raise UserError(
            f"arm {arm.name} may differ from {arm.against} in one factor",
            got=" and ".join(unexplained),
            remedy="measure it against an arm that differs in one (against:), or give the reason "
            "for each further one (also:)",
        )
