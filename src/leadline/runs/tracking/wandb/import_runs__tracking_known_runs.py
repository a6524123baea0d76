"""Every run of a project on a server, or of offline folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leadline.errors import UserError
from leadline.runs.tracking.wandb import offline, sdk
from leadline.runs.tracking.wandb.offline__tracking_known import WandbRun

__all__ = ["WandbRun", "of"]


def of(source: str) -> Iterator[WandbRun]:
    """Give the runs of a folder, or of a project written entity/project, in the order of names."""
    if Path(source).exists():
        yield from merged(offline.find(Path(source)))
    elif source.count("/") == 1 and not source.startswith((".", "/", "~")):
        yield from on_server(source)
    else:
        raise UserError(
            "runs are imported from a folder or from entity/project",
            got=repr(source),
            remedy="name the folder wandb/ that wandb made, or a project such as lab/annotation",
        )


def merged(paths: list[Path]) -> Iterator[WandbRun]:
    """Put together what several attempts of a run wrote: the later one counts."""
    runs: dict[tuple[str, str, str], WandbRun] = {}
    for path in paths:
        found = offline.read(path)
        key = (found.run_id, found.project, found.entity)
        before = runs.get(key)
        if before is not None:
            rows = {row["_step"]: row for row in before.history}
            rows |= {row["_step"]: row for row in found.history}
            found.history = [rows[step] for step in sorted(rows)]
            found.config = before.config | found.config
            found.summary = before.summary | found.summary
        runs[key] = found
    yield from (runs[name] for name in sorted(runs))


def on_server(path: str) -> Iterator[WandbRun]:
    """Read the runs of a project through wandb's API."""
    entity, _, project = path.partition("/")
    if not sdk.has_key():
        raise UserError(
            "a project is read by somebody whom wandb knows",
            got=f"no key for {sdk.base_url()}",
            remedy="run wandb login, or name a folder with offline runs",
        )
    try:
        # wandb's own errors have no class in common.
        known = sdk.sdk().Api().runs(path, order="+created_at", lazy=False)
        runs = [of_server(found, entity, project) for found in known]
    except Exception as error:
        raise UserError(
            "the runs of a project must be readable",
            got=f"{path!r} ({first_line(error)})",
            remedy="check its name, your key and the network",
        ) from error
    yield from runs


def of_server(found: Any, entity: str, project: str) -> WandbRun:
    """Take what the API tells of a run."""
    return WandbRun(
        run_id=found.id,
        project=project,
        entity=entity,
        group=found.group or "",
        job_type=found.job_type or "",
        name=found.name or "",
        tags=tuple(found.tags),
        config=dict(found.config),
        summary=dict(found.summary),
        history=list(found.scan_history()),
        finished=found.state == "finished",
        source=found.url,
    )


def first_line(error: Exception) -> str:
    """Give the first line of what went wrong."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
