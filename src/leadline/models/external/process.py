"""A command in a process group of its own: its output bounded, its time limited, nothing left over.

Whatever the command starts is found again by a token in its environment, also what left its group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from leadline.errors import UserError

TOKEN = "LEADLINE_EXCHANGE"
# What a log keeps of one command, and the end of it that an error message quotes.
LONGEST_LOG, LONGEST_TAIL = 2**20, 4096
SECONDS_BETWEEN_LOOKS = 0.02
# Seconds that helpers of a library have to end by themselves once the command has.
SECONDS_TO_FOLLOW = 2.0
# Not handed over: a worker's Python must find its own packages.
OWN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")

# Of Linux: a command ends when the process that started it is killed.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent dies; called in the child before it begins."""
    assert LIBC is not None
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnd:
    """How a command ended: its exit code, or why it was ended, and the last lines it wrote."""

    code: int | None
    stopped: str = ""
    last_line: str = ""
    stragglers: int = 0


def run_command(
    words: Sequence[str],
    *,
    token: str,
    seconds: float,
    environment: Mapping[str, str],
    too_much: Callable[[], str],
    log: Callable[[str], None],
    grace: float = 10.0,
) -> ProcessEnd:
    """Run a command to its end, or to SIGTERM and then SIGKILL.

    `too_much` is asked all the while for a reason to end it; "" is none.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in OWN_VARIABLES}
    try:
        child = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent if LIBC is not None else None,
            env={**inherited, **environment, TOKEN: token},
        )
    except (OSError, ValueError) as error:
        raise UserError(
            "a worker's command must be one that can be started",
            got=f"{words[0]!r} ({getattr(error, 'strerror', None) or error})",
            remedy="name the interpreter with model.python= or the words with model.command=",
        ) from error
    assert child.stdout is not None
    output = BoundedOutput(child.stdout, log)
    stopped = ""
    try:
        deadline = time.monotonic() + seconds
        while not stopped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS_BETWEEN_LOOKS)
                break
            stopped = too_much()
            if time.monotonic() > deadline:
                stopped = f"no end after the {seconds:g} s that model.time_limit grants"
        followers = [] if stopped else left_behind(token, SECONDS_TO_FOLLOW)
    finally:
        end_all(child, token, grace)
        output.close()
    return ProcessEnd(
        code=None if stopped else child.returncode,
        stopped=stopped,
        last_line=output.last_line(),
        stragglers=len(followers),
    )


def end_all(child: subprocess.Popen[bytes], token: str, grace: float) -> None:
    """Send SIGTERM to all that is left, and SIGKILL to what is there after the grace."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in alive(child, token):
            send(process, number)
        deadline = time.monotonic() + grace
        while alive(child, token) and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS_BETWEEN_LOOKS)
            if child.returncode is not None:
                time.sleep(SECONDS_BETWEEN_LOOKS)


def end_strangers(token: str) -> None:
    """End at once what was started with a token by a process that is gone."""
    for process in processes_with(token):
        send(process, signal.SIGKILL)


def alive(child: subprocess.Popen[bytes], token: str) -> list[int]:
    """Give the processes of a command that have not ended."""
    found = processes_with(token)
    if child.poll() is None:
        found.append(child.pid)
    return found


def send(process: int, number: int) -> None:
    """Signal a process and, where it leads one, its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process) == process:
            os.killpg(process, number)
        else:
            os.kill(process, number)


def left_behind(token: str, seconds: float) -> list[int]:
    """Give the processes that a command left running, after they had time to end."""
    deadline = time.monotonic() + seconds
    while (found := processes_with(token)) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return found


def processes_with(token: str) -> list[int]:
    """Find the living processes of this machine that were started with a token (Linux)."""
    mark = f"{TOKEN}={token}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(folder.name)] if state != "Z" else []
    return found


class BoundedOutput:
    """Reads what a command writes as it writes it, and keeps little of it."""

    def __init__(self, pipe: IO[bytes], log: Callable[[str], None]) -> None:
        self.pipe, self.log = pipe, log
        self.seen, self.logged, self.tail = 0, 0, b""
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        """Read to the end; pass on whole lines, as many as a log keeps."""
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(self.pipe.fileno(), 65536):
                self.seen += len(piece)
                self.tail = (self.tail + piece)[-LONGEST_TAIL:]
                if self.logged >= LONGEST_LOG:
                    continue
                lines, _, rest = (rest + piece).rpartition(b"\n")
                if lines or len(rest) > LONGEST_TAIL:
                    rest = self.write(lines or rest) if not lines else rest
                    if lines:
                        self.write(lines)
        if rest and self.logged < LONGEST_LOG:
            self.write(rest)
        if self.seen > self.logged:
            self.log(f"… of {self.seen:,} bytes the rest was not kept")

    def write(self, content: bytes) -> bytes:
        """Pass a piece on to the log; give what is left of it: nothing."""
        self.logged += len(content) + 1
        self.log(content.decode(errors="replace"))
        return b""

    def close(self) -> None:
        """Wait for the last words."""
        self.thread.join(timeout=5)
        self.pipe.close()

    def last_line(self) -> str:
        """Give the last line that says something, not longer than a message may be."""
        lines = [line.strip() for line in self.tail.decode(errors="replace").splitlines()]
        return next((line[-300:] for line in reversed(lines) if line), "")
