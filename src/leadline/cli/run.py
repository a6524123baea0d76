"""`leadline run` and `leadline predict`: one run made, one run used."""

from __future__ import annotations

import argparse
import sys

from leadline.errors import FAILED, GOOD, REQUEUE, UserError, nearest

# What may be said of the file of new cells.
DATA = ("layer", "scale", "gene_column", "library_column")


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


def predict(chosen: argparse.Namespace) -> int:
    """Write the table."""
    data = settings(chosen.data)
    from leadline.runs.predict import Request, annotate

    print(
        annotate(
            Request(
                run=chosen.run,
                cells=chosen.cells,
                out=chosen.out,
                runs_dir=chosen.runs,
                threshold=chosen.threshold,
                min_genes=chosen.min_genes,
                positions=chosen.positions,
                training=chosen.training,
                data=data,
            )
        )
    )
    return 0


def settings(words: list[str]) -> dict[str, str]:
    """Read data.KEY=VALUE words."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        name = key.removeprefix("data.")
        if not equals or not key.startswith("data.") or name not in DATA:
            raise UserError(
                "settings of the new file are data.KEY=VALUE",
                got=repr(word),
                remedy=nearest(key, [f"data.{known}" for known in DATA]),
            )
        found[name] = value
    return found
