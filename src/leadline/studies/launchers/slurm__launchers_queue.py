"""Which jobs of ours SLURM still has, and which runs each of them computes.

The second is written down beside the records when jobs are submitted: a sweeper that is started
after another was killed finds the jobs that are still queued, and waits for them.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leadline import files

LEDGERS = "arrays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job in the queue: its state, and why it waits."""

    state: str
    reason: str


class QueueSilent(Exception):
    """SLURM's controller does not answer just now."""


def look() -> dict[str, Entry]:
    """Give the jobs of this user that are pending, running or ending, by id (`12_3` in arrays).

    Raises
    ------
    QueueSilent
        When SLURM does not answer; it may be restarting.
    """
    command = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", "--user", getpass.getuser()]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise QueueSilent("squeue did not answer for a minute") from error
    if told.returncode:
        raise QueueSilent((told.stderr.strip().splitlines() or ["squeue failed"])[-1])
    entries = {}
    for line in told.stdout.splitlines():
        job, state, reason = (line.strip().split("|") + ["", ""])[:3]
        entries[job] = Entry(state=state, reason=reason)
    return entries


def cancel(jobs: Sequence[str]) -> None:
    """End jobs: what runs gets SIGTERM and a moment, what waits is forgotten."""
    if jobs:
        subprocess.run(["scancel", "--quiet", *jobs], capture_output=True, timeout=120)


def note(folder: Path, runs_of_job: dict[str, list[str]]) -> None:
    """Write down which runs the jobs of one submission compute."""
    (folder / LEDGERS).mkdir(parents=True, exist_ok=True)
    first = next(iter(runs_of_job))
    files.write_json(folder / LEDGERS / f"{first}.json", runs_of_job)


def noted(folder: Path, queued: dict[str, Entry]) -> dict[str, list[str]]:
    """Give the runs of each job that is still queued; what is over is forgotten."""
    found: dict[str, list[str]] = {}
    for path in sorted((folder / LEDGERS).glob("*.json")):
        try:
            runs_of_job = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            # Another sweeper has just tidied it up, or it is no ledger.
            continue
        alive = {job: runs for job, runs in runs_of_job.items() if job in queued}
        found |= alive
        if not alive:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    return found
