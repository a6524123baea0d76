"""A warm worker: one process that does run after run; tasks on stdin, outcomes on stdout.

SIGTERM stops the run in hand at a checkpoint, and then the worker. When whoever started it is
gone, which it sees by the end of stdin, it stops itself in the same way.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from types import FrameType

from leadline.errors import REQUEUE
from leadline.processes import Preempted
from leadline.studies.launchers.base import outcome_line, read_task
from leadline.studies.launchers.execute import execute

# What a run gets to write a checkpoint in once nobody waits for it any more.
GRACE_SECONDS = 60.0


def main() -> int:
    """Do tasks until there are no more; give the exit code."""
    # Whatever a library prints must not get among the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    # Ctrl-C on a terminal reaches every process; the sweeper decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    idle = threading.Event()
    idle.set()
    threading.Thread(target=listen, args=(lines, idle), daemon=True).start()
    try:
        while line := lines.get():
            idle.clear()
            outcome = execute(read_task(line))
            os.write(answers, outcome_line(outcome))
            idle.set()
    except Preempted:
        return REQUEUE
    return 0


def stop(number: int, frame: FrameType | None) -> None:
    """Answer SIGTERM where no run does."""
    raise Preempted


def listen(lines: queue.SimpleQueue[bytes], idle: threading.Event) -> None:
    """Pass on what comes in; at its end, end this process."""
    # Unbuffered: a thread that dies holding a buffer's lock would break the interpreter's end.
    with open(0, "rb", buffering=0, closefd=False) as file:
        for line in iter(file.readline, b""):
            lines.put(line)
    lines.put(b"")
    if not idle.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        idle.wait(GRACE_SECONDS)
        os._exit(REQUEUE)


if __name__ == "__main__":
    raise SystemExit(main())
