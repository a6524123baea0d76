"""One worker per folder, on one machine or many, without a server.

The lock is a file that appears with its content in one step. Its owner touches it while it works.
A lock is stale when its process is gone (same machine) or has not touched it for minutes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leadline.files import TEMPORARY

NAME = "LOCK"
HEARTBEAT_SECONDS = 20.0
STALE_SECONDS = 300.0


class Busy(Exception):
    """Somebody else works on this folder."""


class LockLost(Exception):
    """Somebody else took this lock over, taking its owner for dead."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[Lock]:
    """Hold the folder's lock, taking over a stale one.

    Raises
    ------
    Busy
        When a living worker holds it.
    """
    lock = Lock(folder)
    lock.acquire()
    stop = threading.Event()
    beat = threading.Thread(target=lock.beat, args=(stop,), daemon=True)
    beat.start()
    try:
        yield lock
    finally:
        stop.set()
        beat.join()
        lock.release()


class Lock:
    """A lock file and the token that says whose it is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.token = uuid.uuid4().hex

    def acquire(self) -> None:
        """Create the lock file, or raise Busy."""
        while not self._create():
            owner = read(self.path)
            if owner is None:
                continue
            require_stale(self.path, owner)
            if self._take_over(owner):
                return

    def check(self) -> None:
        """Raise LockLost unless the lock is still ours."""
        owner = read(self.path)
        if owner is None or owner.get("token") != self.token:
            raise LockLost(f"{self.path} was taken over by another worker")

    def beat(self, stop: threading.Event) -> None:
        """Touch the lock until told to stop."""
        while not stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def release(self) -> None:
        """Remove the lock if it is still ours."""
        owner = read(self.path)
        if owner is not None and owner.get("token") == self.token:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    def _take_over(self, dead: dict[str, Any]) -> bool:
        """Put our lock in the place of a dead owner's; of all who try at once, one succeeds.

        A lock is never lifted: a living one, met by mistake, could not be put back, for its owner
        may be done by then. Who replaces one holds the kernel's lock on the dead file meanwhile,
        which nobody can leave behind by dying.
        """
        try:
            # Servers of files lock none that is open for reading only.
            with open(self.path, "r+b") as file:
                # Where the file system knows no such locks, two must meet within microseconds.
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)
                owner = read(self.path)
                if owner is None or owner.get("token") != dead.get("token"):
                    return False
                require_stale(self.path, owner)
                os.replace(self._write(), self.path)
                return True
        except FileNotFoundError:
            return False

    def _create(self) -> bool:
        """Create the lock file; say whether it is ours."""
        aside = self._write()
        try:
            # A hard link is atomic and exclusive like O_EXCL, but the file is never seen empty.
            os.link(aside, self.path)
            return True
        except (FileExistsError, FileNotFoundError):
            # Not found: the holder of the lock has tidied up meanwhile.
            return False
        finally:
            aside.unlink(missing_ok=True)

    def _write(self) -> Path:
        aside = self.path.with_name(f"{TEMPORARY}{self.token}")
        aside.write_text(json.dumps({"token": self.token, **identity(os.getpid())}))
        return aside


def require_stale(path: Path, owner: dict[str, Any]) -> None:
    """Raise Busy where the owner of a lock may live."""
    if not is_stale(path, owner):
        who = f"process {owner.get('pid')} on {owner.get('host')}"
        raise Busy(f"{who} works on {path.parent}")


def read(path: Path) -> dict[str, Any] | None:
    """Read a lock file; None where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def identity(pid: int) -> dict[str, Any]:
    """Name a process so that a reused process id or a reboot is not taken for it."""
    return {"host": socket.gethostname(), "pid": pid, "started": started(pid)}


def started(pid: int) -> str | None:
    """Give a mark of when a process of this machine began; None when it is gone or unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie has finished its work, whoever has yet to collect it.
    return None if fields[0] == "Z" else f"{boot}/{fields[19]}"


def is_stale(path: Path, owner: dict[str, Any]) -> bool:
    """Say whether the owner of a lock is surely gone."""
    if owner.get("host") == socket.gethostname() and isinstance(owner.get("pid"), int):
        if owner.get("started") is not None:
            return started(owner["pid"]) != owner["started"]
        return not alive(owner["pid"])
    return silence(path) > STALE_SECONDS


def alive(pid: int) -> bool:
    """Say whether a process of this machine exists (where /proc cannot tell)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def silence(path: Path) -> float:
    """Give the seconds since the last touch, by the clock of the file server."""
    probe = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        with contextlib.suppress(FileNotFoundError):
            probe.unlink()
