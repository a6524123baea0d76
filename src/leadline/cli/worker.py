"""`leadline worker` and `leadline invariance`: a program for a model, and what each must keep."""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from leadline.errors import FAILED, GOOD, UserError

# Cells of the training set that a model is asked about in other company.
ASKED = 90


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


def invariance(chosen: argparse.Namespace) -> int:
    """Fit the model on training cells and ask about some of them in other company."""
    import numpy as np

    from leadline.config.compose import compose
    from leadline.config.tasks import PREDICTIONS, TASKS
    from leadline.distributed import World
    from leadline.models.invariance import FEWEST_CELLS, dependences
    from leadline.processes import StopRequest
    from leadline.runs.prepare import prepare
    from leadline.runs.tasks.classify import learner
    from leadline.runs.tracking.base import Silent

    config = compose([f"model={chosen.model}", *chosen.overrides])
    if TASKS[config.task].product != PREDICTIONS:
        raise UserError(
            "leadline invariance fits a model that names cells",
            got=f"task={config.task}",
            remedy="leave it out; `leadline worker check` asks for vectors",
        )
    job = prepare(config)
    train = job.cells.take(job.split.train)
    some = train.take(np.random.default_rng(0).permutation(len(train))[:ASKED])
    if len(some) < FEWEST_CELLS:
        raise UserError(
            f"invariance needs at least {FEWEST_CELLS} training cells",
            got=f"{len(some)}",
            remedy="use more cells",
        )
    model = learner(job, World(), StopRequest(), Silent())
    if job.by_epochs:
        from dataclasses import replace

        from leadline import training

        network = model
        assert isinstance(network, training.Classifier)
        vault = training.CheckpointsInMemory()
        network.setting = replace(network.setting, vault=vault, tell=print)
    selection = job.cells.take(job.split.val) if len(job.split.val) else None
    model.fit(train, selection)
    found = dependences(model.predict_proba, some)
    for each in found:
        print(f"{'WRONG' if each.found else 'ok   '}  {each.line()}")
    return FAILED if any(each.found for each in found) else GOOD
