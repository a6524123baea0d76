"""Every run of a project on a server, or of offline folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from leadline.errors import UserError
from leadline.tracking import offline, wandb_sdk
from leadline.tracking.known import WandbRun

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
    runs: dict[str, WandbRun] = {}
    for path in paths:
        found = offline.read(path)
        before = runs.get(found.run_id)
        if before is not None:
            rows = {row["_step"]: row for row in before.history}
            rows |= {row["_step"]: row for row in found.history}
            found.history = [rows[step] for step in sorted(rows)]
            found.config = before.config | found.config
            found.summary = before.summary | found.summary
        runs[found.run_id] = found
    yield from (runs[name] for name in sorted(runs))


def on_server(path: str) -> Iterator[WandbRun]:
    """Read the runs of a project through wandb's API."""
    entity, _, project = path.partition("/")
    for found in wandb_sdk.sdk().Api().runs(path, order="+created_at", lazy=False):
        yield WandbRun(
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
