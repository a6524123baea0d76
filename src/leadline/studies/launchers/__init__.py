"""Where runs are computed: here, in processes of this machine, on Ray, or through SLURM.

A sweeper asks `choose` what the user wants, `build`s it, and hands it tasks:

    config, others = choose(words)
    with build(config) as launcher:
        for outcome in launcher.run(tasks, stop):
            ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from leadline import config
from leadline.config.compose import shipped
from leadline.errors import UserError, nearest
from leadline.studies.launchers.base import Launcher

GROUP, PREFIX = "hydra/launcher", "hydra.launcher."


def choose(
    words: Sequence[str], default: str = "basic"
) -> tuple[config.LauncherConfig, tuple[str, ...]]:
    """Take the words about the launcher out; give its configuration, and the other words.

    Raises
    ------
    UserError
        For a launcher or a setting that does not exist, or a value that does not fit.
    """
    names = [word.partition("=")[2] for word in words if word.partition("=")[0] == GROUP]
    own = [word for word in words if word.startswith(PREFIX)]
    others = [word for word in words if word.partition("=")[0] != GROUP and word not in own]
    if len(names) > 1:
        raise UserError(
            "one launcher may be chosen", got=" and ".join(names), remedy="leave one of them out"
        )
    return launcher_settings(names[0] if names else default, own), tuple(others)


def launcher_settings(name: str, words: Sequence[str]) -> config.LauncherConfig:
    """Give a launcher's configuration: its shipped file, changed by the words."""
    if name in config.ABSENT_LAUNCHERS:
        rule, remedy = config.ABSENT_LAUNCHERS[name]
        raise UserError(rule, got=f"{GROUP}={name}", remedy=remedy)
    if name not in config.LAUNCHERS:
        raise UserError(
            f"{GROUP} must be one of {', '.join(config.LAUNCHERS)}",
            got=repr(name),
            remedy=nearest(name, config.LAUNCHERS),
        )
    composed = OmegaConf.merge(OmegaConf.structured(config.LAUNCHERS[name]), shown(name))
    for word in words:
        key, value = read_word(word, name)
        try:
            OmegaConf.update(composed, key, value, merge=False)
        except OmegaConfBaseException as error:
            raise UserError(
                f"{PREFIX}{key} must fit its schema",
                got=repr(word),
                remedy=f"conf/{GROUP}/{name}.yaml shows what it looks like",
            ) from error
    settled = OmegaConf.to_object(composed)
    assert isinstance(settled, config.LauncherConfig)
    return settled


def shown(name: str) -> dict[str, Any]:
    """Read the values that a launcher's shipped file shows."""
    # Hydra has a file of its own for `basic`, which has no settings; ours would clash with it.
    if name == "basic":
        return {"name": name}
    values = yaml.safe_load((shipped("conf") / GROUP / f"{name}.yaml").read_text())
    return {key: value for key, value in values.items() if key != "defaults"}


def read_word(word: str, name: str) -> tuple[str, Any]:
    """Split one word into the launcher's setting and its value."""
    key, equals, text = word.removeprefix(PREFIX).partition("=")
    known = [item.name for item in fields(config.LAUNCHERS[name]) if item.name != "name"]
    if key not in known or not equals:
        raise UserError(
            f"the launcher {name} must have the setting that is given, as key=value",
            got=repr(word),
            remedy=nearest(key, known),
        )
    try:
        return key, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(
            f"{PREFIX}{key} must be a value that YAML can read",
            got=repr(word),
            remedy="quote it",
        ) from error


def build(chosen: config.LauncherConfig) -> Launcher:
    """Make the launcher that a configuration describes; it starts nothing yet.

    Raises
    ------
    UserError
        When what it needs is not installed or not there.
    """
    match chosen:
        case config.BasicLauncher():
            from leadline.studies.launchers.in_process import Basic

            return Basic()
        case config.LocalLauncher():
            from leadline.studies.launchers.processes import Processes

            return Processes(chosen)
        case config.RayLauncher():
            from leadline.studies.launchers.ray_cluster import RayCluster

            return RayCluster(chosen)
        case config.SubmititSlurmLauncher():
            from leadline.studies.launchers.slurm import Slurm

            return Slurm(chosen)
    raise AssertionError(f"no launcher for {type(chosen).__name__}")
