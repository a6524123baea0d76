"""`leadline invariance`: whether a model's answer about a cell depends on the other cells."""

from __future__ import annotations

import argparse

from leadline.errors import FAILED, GOOD, UserError

# Cells of the training set that are asked about.
CELLS = 90


def call(chosen: argparse.Namespace) -> int:
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
    some = train.take(np.random.default_rng(0).permutation(len(train))[:CELLS])
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
