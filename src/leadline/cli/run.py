"""`leadline run`."""

from __future__ import annotations

import argparse
import sys

from leadline.errors import FAILED, GOOD, REQUEUE


def call(chosen: argparse.Namespace) -> int:
    """Compute one run, or several."""
    if chosen.multirun:
        from leadline.cli.ablate import multirun

        return multirun(chosen.overrides)
    from leadline.config.compose import compose

    config = compose(chosen.overrides)
    from leadline.locks import Busy
    from leadline.processes import Preempted
    from leadline.runs.run import RunFailed, run

    try:
        folder = run(config)
    except Busy as error:
        print(f"leadline: {error}; wait for it or stop it", file=sys.stderr)
        return FAILED
    except RunFailed as error:
        print(f"leadline: {error}", file=sys.stderr)
        return FAILED
    except Preempted:
        print("leadline: stopped by SIGTERM; the same command goes on", file=sys.stderr)
        return REQUEUE
    print(folder)
    return GOOD
