"""Small networks and settings for tests of the trainer; importable by spawned ranks."""

import numpy as np
from torch import nn

from leadline import distributed, trainer
from leadline.config import MlpConfig, ScgptConfig, TrainConfig
from leadline.models.mlp import Mlp
from leadline.preempt import Notice
from small import small_cells


def halves(**changes):
    cells = small_cells(**({"sizes": (40, 30, 20)} | changes))
    return cells.take(np.arange(0, len(cells), 2)), cells.take(np.arange(1, len(cells), 2))


def classifier(model=None, world=None, vault=None, told=None, **options):
    """Words of TrainConfig, of Setting and of Classifier, each where it belongs."""
    train = {"epochs": 3, "batch_size": 8, "threads": 1}
    setting, own = {"seed": 3}, {}
    for key, value in options.items():
        if key in TrainConfig.__dataclass_fields__:
            train[key] = value
        elif key in trainer.Setting.__dataclass_fields__:
            setting[key] = value
        else:
            own[key] = value
    said = told if told is not None else []
    return trainer.Classifier(
        model or Mlp(MlpConfig(name="mlp", hidden=[16], dropout=0.3)),
        trainer.Setting(
            train=TrainConfig(**train),
            world=world or distributed.World(),
            vault=vault or trainer.Memory(),
            tell=said.append,
            **({"notice": Notice()} | setting),
        ),
        **own,
    )


def fit_and_predict(world=None, notice=None, options=None, cells=None):
    """Do a whole fit; what a rank of tests/test_ddp.py does."""
    train, test = halves(**(cells or {}))
    options = dict(options or {})
    model = options.pop("model", None)
    extra = {"notice": notice} if notice is not None else {}
    learner = classifier(model() if model else None, world, **extra, **options)
    fit = learner.fit(train, test)
    return [dict(row) for row in fit.epochs], learner.predict_proba(test), dict(fit.facts)


class Partly(Mlp):
    """Its first layer is frozen, and one head is never used: neither may trouble several ranks."""

    def __init__(self):
        super().__init__(MlpConfig(name="mlp", hidden=[16, 8], dropout=0.3))

    def build(self, train):
        network = super().build(train)
        network.hidden[0].requires_grad_(False)
        network.unused = nn.Linear(4, 4)
        return network


class Drawing(Mlp):
    """Drops with torch's own dropout, which draws from the state of a generator."""

    def __init__(self):
        super().__init__(MlpConfig(name="mlp", hidden=[16], dropout=0.0))

    def build(self, train):
        network = super().build(train)
        network.hidden.append(nn.Dropout(0.5))
        return network


class Mixing(Mlp):
    """Lets the cells of a micro-batch see one another."""

    def __init__(self):
        super().__init__(MlpConfig(name="mlp", hidden=[16], dropout=0.0))

    def caveats(self):
        return ["batch norm mixes the cells of a micro-batch"]

    def build(self, train):
        network = super().build(train)
        network.hidden.append(nn.BatchNorm1d(16))
        return network


def tiny_scgpt():
    """Drops attention weights, samples long cells and draws ties: none of it may see a rank."""
    from leadline.models.scgpt import Scgpt

    sizes = {"size": "tiny", "width": 8, "heads": 2, "hidden": 8, "max_length": 20}
    drawn = {"dropout": 0.2, "attention_dropout": 0.2, "ties": "random"}
    return Scgpt(ScgptConfig(name="scgpt", bins=11, **sizes, **drawn))
