"""`leadline show RUN`: one record, in words and numbers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.cli.live_table import aligned
from leadline.runs import damage, record
from leadline.runs.record import State
from leadline.runs.records import read_settings

LINES_OF_A_TRACEBACK, LINES_OF_A_LOG = 12, 5
METRICS_FIRST = ("accuracy", "macro_f1", "balanced_accuracy", "log_loss", "loss")
# Where and for whom a run was made says nothing about what it computed.
UNTOLD = ("tracker", "study", "arm", "runs_dir", "data_dir")


def shown(folder: Path) -> list[str]:
    """Give what there is to say of a run, finished or not."""
    state = record.state(folder)
    lines = [f"{folder.name}: {state}", f"  {folder}"]
    if state in (State.DONE, State.DAMAGED):
        facts, reason = damage.facts_or_reason(folder)
        if facts is None:
            return [f"{folder.name}: {State.DAMAGED}", *lines[1:], *broken(folder, reason)]
        return [*lines, *of_facts(facts), *settings(folder), *files(folder)]
    return [*lines, *unfinished(folder, state), *settings(folder), *files(folder)]


def broken(folder: Path, reason: str) -> list[str]:
    """Say why a finished run cannot be used, and what can be done."""
    remedy = f"leadline doctor {folder.parent} --quarantine moves it aside; then run it again"
    return [f"  CHANGED since it was done: {reason}", f"  {remedy}", *files(folder)]


def unfinished(folder: Path, state: State) -> list[str]:
    """Say why a run is not done, as far as its folder tells."""
    if state is State.FAILED:
        trace = (folder / record.FAILED).read_text("utf-8", "replace").strip().splitlines()
        left_out = len(trace) - LINES_OF_A_TRACEBACK
        more = [f"  … {left_out} more lines in {folder / record.FAILED}"] if left_out > 0 else []
        return ["", "why it failed:", *more, *(f"  {x}" for x in trace[-LINES_OF_A_TRACEBACK:])]
    log = folder / record.LOG
    said = log.read_text("utf-8", "replace").splitlines()[-LINES_OF_A_LOG:] if log.exists() else []
    return ["", "last lines of its log:", *(f"  {line}" for line in said)]


def of_facts(facts: Mapping[str, Any]) -> list[str]:
    """Give origin, cells, results and warnings of a finished run."""
    data, sizes = facts["data"], facts.get("split", {}).get("cells", {})
    made, cost = facts.get("provenance", {}), facts.get("cost", {})
    of_study = f" (study {facts['study']}, arm {facts['arm']})" if facts.get("study") else ""
    commit = f", commit {made['git_commit'][:10]}" if made.get("git_commit") else ""
    dirty = " with uncommitted changes" if made.get("git_dirty") else ""
    parts = ", ".join(f"{count:,} {part}" for part, count in sizes.items() if count)
    rows = [
        ("task", f"{facts.get('task', 'classify')} with {facts['model']}{of_study}"),
        (
            "cells",
            f"{data.get('cells', 0):,} x {data.get('genes', 0):,} genes of {facts['dataset']} "
            f"({data.get('scale', 'scale unknown')}), {len(data.get('classes', ()))} classes",
        ),
        ("parts", f"{parts}; fraction {facts['fraction']:g}, seed {facts['seed']}"),
        (
            "made",
            f"leadline {made.get('leadline', '?')}{commit}{dirty}, on {made.get('host', '?')} "
            f"({made.get('device', '?')})",
        ),
        (
            "cost",
            f"{cost.get('wall_seconds', 0):,.1f} s, {cost.get('cpu_seconds', 0):,.1f} CPU s, "
            f"{cost.get('peak_memory_mib', 0):,.0f} MiB",
        ),
    ]
    lines = ["", *aligned(rows, "  "), "", *scores(facts["metrics"])]
    lines += classes(facts.get("per_class", {}).get("test", {}))
    if facts.get("warnings"):
        lines += ["", "warnings:", *(f"  {text}" for text in facts["warnings"])]
    return lines


def scores(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Give the metrics of each part, the most asked for first."""
    names = {name: None for scores in metrics.values() for name in scores}
    order = sorted(names, key=lambda n: (n not in METRICS_FIRST, list(names).index(n)))
    rows = [["metric", *metrics]]
    for name in order:
        values = [scores.get(name) for scores in metrics.values()]
        rows.append([name, *("" if v is None else f"{v:.4f}" for v in values)])
    return aligned(rows, "  ")


def classes(per_class: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Give how well each class of the reported cells was found."""
    if not per_class:
        return []
    columns = ("cells", "precision", "recall", "f1")
    rows = [["class", *columns]]
    for name, values in per_class.items():
        numbers = [values.get(column) for column in columns[1:]]
        shown = ("" if value is None else f"{value:.3f}" for value in numbers)
        rows.append([name, f"{values['cells']}", *shown])
    return ["", *aligned(rows, "  ")]


def settings(folder: Path) -> list[str]:
    """Give the settings that are not what they are by default."""
    plain = flat(read_settings(folder))
    usual = flat(defaults(plain))
    changed = [
        (key, str(value))
        for key, value in plain.items()
        if key.partition(".")[0] not in UNTOLD and usual.get(key, "") != value
    ]
    return ["", "settings that are not the default:", *(aligned(changed, "  ") or ["  none"])]


def defaults(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Compose the groups that a run chose, each as it is shipped."""
    from leadline import config
    from leadline.config.compose import compose
    from leadline.config.shipped import options

    words = [
        f"{group}={plain[f'{group}.name']}"
        for group in ("data", "model", "protocol")
        if plain.get(f"{group}.name") in options(group)
    ]
    return config.as_recorded(compose(words))


def flat(plain: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Give nested settings by their dotted names, as the command line writes them."""
    result: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{before}{key}.")
        else:
            result[f"{before}{key}"] = value
    return result


def files(folder: Path) -> list[str]:
    """Give the files of a record with their sizes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [(str(path.relative_to(folder)), f"{path.stat().st_size:,}", "bytes") for path in found]
    return ["", "files:", *aligned(rows, "  ")]


def call(chosen: argparse.Namespace) -> int:
    """Print the account of the run."""
    from leadline.runs.records import find_run

    print("\n".join(shown(find_run(chosen.run, chosen.runs))))
    return 0
