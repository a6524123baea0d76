"""`leadline worker`: a program that speaks for a model, written and checked."""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from leadline.errors import FAILED, GOOD, UserError


def call(chosen: argparse.Namespace) -> int:
    """Write a worker, or check one."""
    return new(chosen.name) if chosen.part == "new" else check(chosen)


def new(name: str) -> int:
    """Write a commented worker to fill in."""
    if not name.isidentifier():
        raise UserError(
            "a worker's name is a word of letters, digits and _",
            got=repr(name),
            remedy="write for example leadline worker new mine",
        )
    path = Path(f"{name}.py")
    if path.exists():
        raise UserError("a new worker needs a new file", got=str(path), remedy="choose a name")
    text = (files("leadline.models.external") / "worker_template.txt").read_text(encoding="utf-8")
    path.write_text(text.replace("NAME", name), encoding="utf-8")
    print(path)
    return GOOD


def check(chosen: argparse.Namespace) -> int:
    """Ask a worker about 20 cells, and print what is good and what is wrong."""
    import numpy as np

    from leadline.config import ExternalConfig
    from leadline.config.compose import compose
    from leadline.data.cache import load_once
    from leadline.models.external.check import CELLS, check_worker
    from leadline.models.external.exchange import Exchange

    config = ExternalConfig(
        name=Path(chosen.worker).stem,
        worker=chosen.worker,
        python=chosen.python or sys.executable,
        time_limit=chosen.seconds,
    )
    run = compose([])
    cells = load_once(run.data, Path(run.data_dir)).cells
    assert cells.labels_C is not None
    two = np.flatnonzero(np.isin(cells.labels_C, np.argsort(-np.bincount(cells.labels_C))[:2]))
    good = True
    for fine, text in check_worker(Exchange(config), cells.take(two[:CELLS])):
        good &= fine
        print(f"{'ok   ' if fine else 'WRONG'}  {text}", flush=True)
    return GOOD if good else FAILED
