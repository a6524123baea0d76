"""`leadline list`: what there is to choose from, and what was made."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from leadline.cli.live_table import aligned
from leadline.config.registry import installed
from leadline.config.shipped import about, options, shipped, studies
from leadline.runs import damage, record, records
from leadline.runs.record import State

TOPICS = ("models", "datasets", "studies", "runs")


def listed(topic: str | None, runs_dir: Path) -> list[str]:
    """Give the lines about one topic, or about all of them."""
    if topic is not None:
        return LISTS[topic](runs_dir)
    lines = []
    for name in TOPICS:
        found = LISTS[name](runs_dir) if name != "runs" or runs_dir.is_dir() else ["  none yet"]
        lines += [f"{name}:", *(f"  {line.strip()}" for line in found), ""]
    return lines[:-1]


def models(runs_dir: Path) -> list[str]:
    """Name the models: ours, and those of installed packages."""
    own = [(name, f"from an installed package: {row.model}") for name, row in installed().items()]
    return aligned([*described("model"), *own])


def datasets(runs_dir: Path) -> list[str]:
    """Name the datasets."""
    return aligned(described("data"))


def described(group: str) -> list[tuple[str, str]]:
    """Give each option of a group with what its file says of itself."""
    return [(name, about(shipped("conf") / group / f"{name}.yaml")) for name in options(group)]


def questions(runs_dir: Path) -> list[str]:
    """Name the studies with the question that each asks."""
    rows = []
    for name in studies():
        content = yaml.safe_load((shipped("ablations") / f"{name}.yaml").read_text("utf-8")) or {}
        rows.append((name, " ".join(str(content.get("question", "")).split())))
    return aligned(rows) or ["none"]


def runs(runs_dir: Path) -> list[str]:
    """Name the runs of a folder: how far each got, and what came of it."""
    found = records.find_records(runs_dir)
    rows = [(folder.name, *of_run(folder)) for folder in found]
    bad = {name for name, state, *_ in rows if state == State.DAMAGED}
    damaged = [damage.Damaged(path, damage.problem(path)) for path in found if path.name in bad]
    damage.warn(damaged, sum(state in (State.DONE, State.DAMAGED) for _, state, *_ in rows))
    return aligned([("run", "state", "accuracy", "macro-F1", "study"), *rows]) if rows else ["none"]


def of_run(folder: Path) -> tuple[str, str, str, str]:
    """Give a run's state, its accuracy and macro-F1 if there are any, and its study."""
    state = record.state(folder)
    if state not in (State.DONE, State.DAMAGED):
        return str(state), "", "", ""
    facts, _ = damage.facts_or_reason(folder)
    if facts is None:
        return str(State.DAMAGED), "", "", ""
    scores = facts["metrics"].get("test", {})
    shown = (f"{scores[key]:.4f}" if key in scores else "" for key in ("accuracy", "macro_f1"))
    return str(state), *shown, facts.get("study") or ""  # type: ignore[return-value]


LISTS = {"models": models, "datasets": datasets, "studies": questions, "runs": runs}


def call(chosen: argparse.Namespace) -> int:
    """Print the names."""
    print("\n".join(listed(chosen.topic, chosen.runs)))
    return 0
