"""The smallest sweeper: run what is not done, once, print outcomes. Called by tests as a program.

python sweep_once.py TASKS.jsonl LAUNCHER-WORD...
"""

import signal
import sys
import threading
from pathlib import Path

from launching import is_done
from leadline.studies.launchers import build, choose
from leadline.studies.launchers.base import outcome_line, read_task


def main(path, *words):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    tasks = [read_task(line) for line in Path(path).read_bytes().splitlines()]
    missing = [task for task in tasks if not is_done(task)]
    print(len(missing), "to do", flush=True)
    with build(choose(words)[0]) as launcher:
        for outcome in launcher.run(missing, stop):
            sys.stdout.write(outcome_line(outcome).decode())
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
