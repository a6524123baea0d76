"""One wandb run for each run, with the same name: told epoch by epoch, or written offline.

The record is the truth and wandb its mirror. Without a connection nothing is written while the run
is under way; the finished record is then mirrored into one offline folder. (Folders of several
attempts would overwrite one another on the server: wandb cannot resume offline.)
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline import locks
from leadline.config import WandbTrackerConfig
from leadline.runs.tracking.base import Identity
from leadline.runs.tracking.wandb import offline, sdk, upload, uploaded

# How long to wait before asking the server again whether everything has arrived.
PAUSES = (0.5, 2.0, 5.0)
# How long to wait for the disk before looking again.
WRITING = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class WandbTracker:
    """Mirrors a run to wandb."""

    def __init__(self, config: WandbTrackerConfig, identity: Identity, folder: Path) -> None:
        self.config, self.identity, self.folder = config, identity, folder
        self.mode = ""
        self.run: Any = None
        self.told = 0

    def begin(self) -> None:
        """Open the run on the server, if there is a key."""
        if not self.mode:
            # Whatever goes wrong from here on, the record can still be mirrored offline.
            self.mode = "offline"
            self.mode = sdk.asked_for(self.config)
        if self.mode == "online" and self.run is None:
            self.mode = "offline"
            sdk.require_answer(self.config.timeout_seconds)
            try:
                self.run = sdk.open_run(self.config, self.identity, self.folder, online=True)
            except Exception:
                sdk.restart()
                raise
            self.mode = "online"
            # A server that knows the run says at which step it goes on.
            self.told = self.run.starting_step - 1

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell an epoch, unless the server has it from an earlier attempt."""
        if self.run is not None and step > self.told:
            self.run.log(dict(values), step=step)
            self.told = step

    def finish(self, folder: Path) -> None:
        """Mirror what of the record has not been told yet."""
        try:
            with locks.hold(folder):
                if self.run is None and where(self.config) in uploaded.read(folder)["synced"]:
                    return
                self.begin()
                if self.run is not None:
                    self.finish_online(folder)
                elif self.mode == "offline":
                    write_offline(self.config, self.identity, folder)
        except locks.Busy:
            # Another process asked for the same finished run, and mirrors it.
            return

    def finish_online(self, folder: Path) -> None:
        """Tell the rest, wait for the upload, and note that the server has it all."""
        last, artifact = upload.tell_record(self.run, folder, after=self.told)
        if artifact is not None:
            artifact.wait(timeout=round(self.config.upload_seconds))
        run, self.run = self.run, None
        run.finish()
        # wandb's own process may have given up on an upload without a word to us.
        if not confirmed(run.path, last, self.config.timeout_seconds):
            raise RuntimeError(f"{run.url} has not arrived as a whole; leadline sync completes it")
        uploaded.mark_synced(folder, where(self.config), run.url)

    def close(self, *, failed: bool = False) -> None:
        """End the run on the server; a run that goes on opens it again."""
        if self.run is None:
            return
        run, self.run = self.run, None
        try:
            run.finish(exit_code=1 if failed else 0)
        except Exception:
            # wandb's own process may be gone; the next run gets another.
            sdk.restart()
            raise


def confirmed(path: str, last: int, timeout: float) -> bool:
    """Say whether the server has a run up to its last step; it may take a moment to know."""
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        if sdk.last_step(path, timeout) >= last:
            return True
    return False


def where(config: WandbTrackerConfig) -> str:
    """Name the place that a run is mirrored to."""
    return f"{sdk.base_url()}/{config.entity or '-'}/{config.project}"


def is_told(config: WandbTrackerConfig, folder: Path) -> bool:
    """Say whether a record is mirrored there already."""
    found = uploaded.read(folder)
    return bool(found["offline"]) if config.mode == "offline" else where(config) in found["synced"]


def write_offline(config: WandbTrackerConfig, identity: Identity, folder: Path) -> None:
    """Mirror a finished record into one offline folder; does nothing when it is there."""
    if uploaded.read(folder)["offline"]:
        return
    for begun in ("offline-run-*", "run-*", uploaded.WAITING):
        uploaded.clear(folder, what=begun)
    run = sdk.open_run(config, identity, folder, online=False)
    try:
        upload.tell_record(run, folder, after=0)
    except BaseException:
        run.finish(exit_code=1)
        raise
    close_offline(run)
    uploaded.mark_offline(folder, Path(run.dir).parent.name)


def close_offline(run: Any) -> None:
    """End an offline run, and wait for wandb's own process to write the last of it."""
    run.finish()
    (path,) = Path(run.dir).parent.glob("*.wandb")
    for pause in (0.0, *WRITING):
        time.sleep(pause)
        if offline.read(path).finished:
            return
    raise RuntimeError(f"{path} was not written to its end")
