"""With what the runs were made, and the commands that make them and their page again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadline.report import page
from leadline.report.folds import runs_of
from leadline.report.study import Facts, StudyResults

# Settings by which runs of no study most often differ; the rest is told by their records.
TOLD = ("data.name", "model.name", "data.fraction", "seed", "protocol.name", "task")
GROUPS = {"data.name": "data", "model.name": "model", "protocol.name": "protocol"}
MOST = 60


def made_with(records: Sequence[Facts]) -> list[str]:
    """Say with which code, packages, machines and files runs were made, and what they cost."""
    records = [run for facts in records for run in runs_of(facts)]
    code: dict[str, int] = {}
    for facts in records:
        line = _code(facts.get("provenance") or {})
        code[line] = code.get(line, 0) + 1
    data = sorted({f"{f['dataset']}: SHA-256 {f['data']['fingerprint']}" for f in records})
    costs = [facts.get("cost") or {} for facts in records]
    cpu = sum(float(cost.get("cpu_seconds") or 0) for cost in costs) / 3600
    gpu = sum(float(cost.get("gpu_seconds") or 0) for cost in costs) / 3600
    runs = [f"{line} ({count} of {len(records)} runs)" for line, count in sorted(code.items())]
    return [*runs, *data, f"{cpu:.2f} CPU hours, {gpu:.2f} GPU hours in all"]


def _code(where: Mapping[str, Any]) -> str:
    commit = where.get("git_commit") or "unknown"
    changed = " with local changes" if where.get("git_dirty") else ""
    packages = ", ".join(f"{k} {v}" for k, v in (where.get("packages") or {}).items() if v)
    machine = ", ".join(str(where[key]) for key in ("platform", "device") if where.get(key))
    said = [
        f"leadline {where.get('leadline', 'unknown')}, commit {commit}{changed}",
        f"Python {where.get('python', 'unknown')}",
        packages,
        machine,
    ]
    return ", ".join(part for part in said if part)


def commands_of(studies: Sequence[StudyResults], command: str, runs_dir: Path) -> str:
    """Give the commands that make the runs and the page again."""
    lines = [f"leadline ablate {study.name} runs_dir={runs_dir}" for study in studies if study.name]
    commits = {
        str(facts["provenance"]["git_commit"])
        for study in studies
        for facts in study.records
        if (facts.get("provenance") or {}).get("git_commit")
    }
    if len(commits) == 1:
        lines.insert(0, f"git checkout {commits.pop()}")
    loose = [study for study in studies if not study.name]
    shown = page.command("\n".join([*lines, command]))
    for study in loose:
        shown += _loose(study, runs_dir)
    return shown


def _loose(study: StudyResults, runs_dir: Path) -> str:
    """Give the commands of runs that no study made, as far as their settings are the usual ones."""
    lines = [_words(study.configs.get(f["run_id"], {}), runs_dir) for f in study.records]
    lines = list(dict.fromkeys(line for line in lines if line))
    if not lines:
        return ""
    more = len(lines) - MOST
    text = "\n".join(lines[:MOST]) + (f"\n# and {more} more" if more > 0 else "")
    return page.folded(
        f"Commands of the {len(lines)} runs of no study",
        page.paragraph(
            "With every other setting as it stands in the config.yaml of the record.", "muted"
        )
        + page.command(text),
    )


def _words(config: Mapping[str, Any], runs_dir: Path) -> str:
    words = [
        f"{GROUPS.get(key, key)}={config[key]}"
        for key in TOLD
        if key in config and not (key == "task" and config[key] == "classify")
    ]
    return shlex.join(["leadline", "run", *words, f"runs_dir={runs_dir}"]) if words else ""
