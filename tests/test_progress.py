"""Waiting is visible: a bar on a terminal, lines elsewhere, nothing for quick work."""

import os
import pty
import subprocess
import sys

from leadline import progress as room
from leadline.progress import Lines, progress


def test_quick_work_writes_nothing(capsys):
    with progress("folding", 3) as advance:
        for _ in range(3):
            advance(1)
    assert capsys.readouterr().err == ""


def test_slow_work_writes_lines_with_the_time_left(capsys, monkeypatch):
    clock = iter([0.0, 4.0, 12.0, 13.0])
    monkeypatch.setattr(room.time, "monotonic", lambda: next(clock))
    lines = Lines("folding", 10)
    for _ in range(3):
        lines.advance(2)
    # At 12 s 4 of 10 are done: 3 s a step, 6 steps left.
    assert capsys.readouterr().err == "folding: 4 of 10, 18 s left\n"


def test_a_terminal_gets_a_bar():
    code = "from leadline.progress import progress\nwith progress('folding', 2) as a: a(1); a(1)"
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, close_fds=True)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:
        pass  # Linux ends a pty whose other side is closed with an error.
    os.close(ours)
    assert process.wait() == 0
    assert b"folding" in shown and b"2/2" in shown
