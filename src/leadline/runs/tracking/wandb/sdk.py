"""The only importer of wandb: its key, its settings, a run that is open for writing."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from leadline.config import WandbTrackerConfig
from leadline.runs.tracking.base import Identity

DATA_DIR = "WANDB_DATA_DIR"
# Seconds in which a server accepts a connection, if it ever does.
ANSWER = 3.0


def sdk() -> Any:
    """Import wandb, which reports its own errors to its makers unless it is told not to."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def protocol() -> Any:
    """Give the messages that wandb's files consist of."""
    sdk()
    return importlib.import_module("wandb.proto.wandb_internal_pb2")


def has_key() -> bool:
    """Say whether wandb finds a key: in the environment, in netrc or in its settings."""
    sdk()
    from wandb.sdk.lib import wbauth

    found = wbauth.authenticate_session(
        host=base_url(), source="leadline", prompt=False, update_session=False
    )
    return found is not None


def base_url() -> str:
    """Give the address of the server that wandb would talk to."""
    sdk()
    from wandb.sdk import wandb_setup

    return str(wandb_setup.singleton().settings.base_url)


def require_answer(timeout: float) -> None:
    """Fail soon where nobody answers: wandb would go on trying, in each run of a study again.

    Behind a proxy only wandb itself can tell.
    """
    address = urlsplit(base_url())
    if address.scheme in getproxies():
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), min(timeout, ANSWER)).close()
    except OSError as error:
        raise ConnectionError(f"nobody answers at {base_url()}; leadline sync uploads later") from (
            error
        )


def asked_for(config: WandbTrackerConfig) -> str:
    """Resolve the mode to online, offline or disabled; the user's WANDB_MODE decides `auto`."""
    if config.mode != "auto":
        return config.mode
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "dryrun"):
        return "offline"
    if mode == "disabled":
        return "disabled"
    return "online" if has_key() else "offline"


def open_run(config: WandbTrackerConfig, identity: Identity, folder: Path, *, online: bool) -> Any:
    """Open the run; one that the server knows already goes on where it stopped.

    Neither the command line nor the git remote is sent, since both may hold secrets, nor what is
    written to the terminal.
    """
    wandb = sdk()
    settings = wandb.Settings(
        allow_val_change=True,
        console="off",
        disable_git=True,
        finish_timeout=config.upload_seconds,
        finish_timeout_raises=True,
        init_timeout=config.timeout_seconds,
        save_code=False,
        silent=True,
        symlink=False,
        x_disable_meta=True,
        x_disable_stats=not online,
        x_save_requirements=False,
    )
    return wandb.init(
        project=config.project,
        entity=config.entity,
        id=identity.run_id,
        name=identity.run_id,
        group=identity.study,
        job_type=identity.arm,
        tags=list(identity.tags),
        config=dict(identity.config),
        dir=str(folder),
        mode="online" if online else "offline",
        resume="allow" if online else None,
        # A script of the user's may have a run of its own open.
        reinit="create_new",
        settings=settings,
    )


def last_step(path: str, timeout: float) -> int:
    """Ask the server for the last step that it has of a run, named entity/project/id."""
    found = sdk().Api(timeout=max(1, round(timeout))).run(path)
    return max(int(found.lastHistoryStep), int(found.summary.get("_step", -1)))


def restart() -> None:
    """End wandb's own process, which holds on to a run that could not be opened."""
    sdk().teardown()


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Let wandb keep tables that wait for their upload in `folder`, not in the user's home."""
    if DATA_DIR in os.environ:
        yield
        return
    os.environ[DATA_DIR] = str(folder)
    try:
        yield
    finally:
        del os.environ[DATA_DIR]
