"""Finished records → wandb, later: what is there already is left alone."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leadline import locks
from leadline.config import WandbTrackerConfig
from leadline.errors import UserError
from leadline.progress import say
from leadline.runs import record, records
from leadline.runs.record import State
from leadline.runs.tracking.base import Identity
from leadline.runs.tracking.wandb import sdk, tracker, uploaded
from leadline.runs.tracking.wandb import tracker as wandb_run

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


# What may come of a record, in the order in which it is told.
OUTCOMES = ("uploaded", "written", "to do", "already there", "imported from wandb", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """What is to be told to whom; None leaves it to the settings that a run was made with."""

    runs_dir: Path
    study: str | None = None
    project: str | None = None
    entity: str | None = None
    offline: bool = False
    dry_run: bool = False

    def config(self, made_with: dict[str, Any]) -> WandbTrackerConfig:
        """Give the settings for one run."""
        fields = made_with if made_with.get("name") == "wandb" else {}
        config = WandbTrackerConfig(**fields)
        config = replace(config, mode="offline" if self.offline else "online")
        if self.project is not None:
            config = replace(config, project=self.project)
        return config if self.entity is None else replace(config, entity=self.entity)


def sync(wish: SyncRequest) -> Counter[str]:
    """Mirror every finished record that is not there yet; count what came of each.

    One that fails is told and does not keep the others.

    Raises
    ------
    UserError
        When nobody is logged in at wandb.
    """
    facts = {found["run_id"]: found for found in records.read_done(wish.runs_dir, wish.study)}
    require_key(wish)
    counted: Counter[str] = Counter()
    for run_id, found in sorted(facts.items()):
        try:
            outcome = sync_one(wish, wish.runs_dir / run_id, found)
        except Exception as error:
            outcome = "failed"
            say(f"{run_id} could not be uploaded: {type(error).__name__}: {error}")
        counted[outcome] += 1
        if outcome in ("uploaded", "written", "to do"):
            say(f"{run_id}: {outcome}")
    return counted


def require_key(wish: SyncRequest) -> None:
    """Refuse to go on when wandb would not know who we are."""
    if not (wish.offline or wish.dry_run or sdk.has_key()):
        raise UserError(
            "leadline sync needs a key of wandb",
            got=f"none for {sdk.base_url()}",
            remedy="run wandb login, set WANDB_API_KEY, or write offline folders with --offline",
        )


def sync_one(wish: SyncRequest, folder: Path, facts: dict[str, Any]) -> str:
    """Mirror one record; say what came of it."""
    if "imported" in facts:
        return "imported from wandb"
    config_made = records.read_settings(folder)
    config = wish.config(config_made.get("tracker") or {})
    if wandb_run.is_told(config, folder):
        return "already there"
    if wish.dry_run:
        return "to do"
    tracker = wandb_run.WandbTracker(config, identity(facts, config_made, config), folder)
    try:
        tracker.finish(folder)
    except BaseException:
        tracker.close(failed=True)
        raise
    if not wandb_run.is_told(config, folder):
        raise locks.Busy(f"another process works on {folder}")
    return "written" if wish.offline else "uploaded"


def identity(
    facts: dict[str, Any], config_made: dict[str, Any], config: WandbTrackerConfig
) -> Identity:
    """Name a run by its record."""
    words = [facts["dataset"], facts["model"], facts["protocol"]["name"], *config.tags]
    return Identity(
        run_id=facts["run_id"],
        study=facts["study"],
        arm=facts["arm"],
        tags=tuple(dict.fromkeys(word[:64] for word in words if word)),
        config=config_made,
    )


def sync_study(wish: SyncRequest, write: Callable[[Path], object]) -> str:
    """Mirror a study's report as one more run of its group; say what came of it.

    `write` writes the report into a folder; it stays there, beside the study's manifest.
    """
    assert wish.study is not None
    manifest = records.studies(wish.runs_dir)[wish.study]
    folders = [wish.runs_dir / run["run_id"] for run in manifest["runs"]]
    done = [folder for folder in folders if record.state(folder) is State.DONE]
    # The summary goes to where the runs are.
    trackers = [records.read_settings(folder).get("tracker") or {} for folder in done]
    config = wish.config(next((one for one in trackers if one.get("name") == "wandb"), {}))
    folder = wish.runs_dir / records.STUDIES / wish.study
    pages = folder / "report"
    pages.mkdir(parents=True, exist_ok=True)
    write(pages)
    if is_told(config, folder, digest(pages)):
        return "already there"
    if wish.dry_run:
        return "to do"
    tell(config, manifest, len(done), pages, folder)
    return "written" if wish.offline else "uploaded"
