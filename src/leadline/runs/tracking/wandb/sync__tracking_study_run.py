"""A study's tables and figures as one wandb run, in the group of the study's runs."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.config import WandbTrackerConfig
from leadline.runs.tracking.base import Identity
from leadline.runs.tracking.wandb import sdk, tracker, uploaded

JOB = "study"


def digest(pages: Path) -> str:
    """Sum up what a report says, by its tables; the page itself tells when it was made."""
    total = hashlib.sha256()
    for path in sorted(pages.glob("tables/*.csv")):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


def is_told(config: WandbTrackerConfig, folder: Path, said: str) -> bool:
    """Say whether this very report is mirrored there already."""
    found = uploaded.read(folder)
    if config.mode == "offline":
        return bool(found["offline"]) and found["said"] == said
    return f"{tracker.where(config)}#{said}" in found["synced"]


def run_id(study: str) -> str:
    """Name the run: the next report of the same study goes on in it."""
    return f"study-{re.sub(r'[^A-Za-z0-9_.-]', '-', study)}"


def tell(
    config: WandbTrackerConfig, manifest: Mapping[str, Any], done: int, pages: Path, folder: Path
) -> None:
    """Tell the tables, the figures and the whole report of a study."""
    study, said = folder.name, digest(pages)
    online = config.mode == "online"
    identity = Identity(
        run_id=run_id(study),
        study=study,
        arm=JOB,
        tags=("summary",),
        config={key: value for key, value in manifest.items() if key != "runs"},
    )
    for begun in () if online else ("offline-run-*", uploaded.WAITING):
        uploaded.clear(folder, what=begun)
    run = sdk.open_run(config, identity, folder, online=online)
    try:
        run.summary.update({"runs": len(manifest["runs"]), "runs done": done})
        with sdk.staged_in(uploaded.waiting(folder)):
            run.log({**tables(pages), **figures(pages)}, step=run.starting_step)
        artifact = sdk.sdk().Artifact(name=f"report-{study}", type="report")
        for path in sorted(path for path in pages.rglob("*") if path.is_file()):
            name = path.relative_to(pages).as_posix()
            artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)
        logged = run.log_artifact(artifact)
        if online:
            logged.wait(timeout=round(config.upload_seconds))
    except BaseException:
        run.finish(exit_code=1)
        raise
    if online:
        run.finish()
        uploaded.mark_synced(folder, f"{tracker.where(config)}#{said}", run.url)
    else:
        tracker.close_offline(run)
        uploaded.mark_offline(folder, Path(run.dir).parent.name, said)


def tables(pages: Path) -> dict[str, Any]:
    """Read each table of a report."""
    found = {}
    for path in sorted(pages.glob("tables/*.csv")):
        with open(path, newline="") as file:
            head, *rows = csv.reader(file)
        found[f"tables/{path.stem}"] = sdk.sdk().Table(columns=head, data=rows)
    return found


def figures(pages: Path) -> dict[str, Any]:
    """Read each figure of a report: wandb shows a vector drawing as a page of its own."""
    return {
        f"figures/{path.stem}": sdk.sdk().Html(path.read_text(), inject=False)
        for path in sorted(pages.glob("figures/*.svg"))
    }
