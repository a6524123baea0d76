"""What a run works on: cells, split, the run's name, and the model in the right hands."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leadline import catalog, distributed, firewall, models, protocols, tracking
from leadline.cells import Cells, require_scale
from leadline.config import RunConfig
from leadline.distributed import World
from leadline.errors import UserError, nearest
from leadline.preempt import Notice
from leadline.progress import say
from leadline.record import Vault, append_log, identify
from leadline.splits import Split, make_split


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, ready to be computed; every rank makes the same from the same configuration.

    `hard` holds the classes that are reported on separately.
    """

    config: RunConfig
    model: models.Model | models.TorchModel
    cells: Cells
    split: Split
    hard: NDArray[np.int64]
    data_fingerprint: str
    run_id: str
    folder: Path

    @property
    def by_epochs(self) -> bool:
        """Say whether the trainer fits the model."""
        return learns_by_epochs(self.config)


def learns_by_epochs(config: RunConfig) -> bool:
    """Say whether a model goes through the trainer, and so may choose an epoch."""
    return config.model.name not in models.BASELINES


def prepare(config: RunConfig) -> Job:
    """Load the cells, split them, and name the run."""
    config = protocols.resolve(config, selects=learns_by_epochs(config))
    require_one_process(config, distributed.from_environment())
    model = make_model(config)
    cells = catalog.load(config.data, Path(config.data_dir))
    require_scale(cells, model.accepts, config.model.name)
    hard = hard_classes(cells, config)
    split = split_cells(cells, config)
    data_fingerprint = cells.fingerprint()
    run_id = run_id_of(config, data_fingerprint, split)
    return Job(
        config=config,
        model=model,
        cells=cells,
        split=split,
        hard=hard,
        data_fingerprint=data_fingerprint,
        run_id=run_id,
        folder=Path(config.runs_dir).expanduser() / run_id,
    )


def require_one_process(config: RunConfig, world: World) -> None:
    """Refuse to let several processes fit a model that one process fits."""
    if world.size > 1 and not learns_by_epochs(config):
        raise UserError(
            f"model={config.model.name} is computed by one process",
            got=f"{world.size} of them",
            remedy="start one task, and give it cores with train.threads",
        )


def make_model(config: RunConfig) -> models.Model | models.TorchModel:
    """Make what the configuration names, not yet fitted."""
    if learns_by_epochs(config):
        return models.build_network(config.model, train=config.train)
    return models.build(
        config.model,
        seed=config.seed,
        threads=config.train.threads or os.cpu_count() or 1,
        cache=Path(config.runs_dir).expanduser() / ".cache",
        # A baseline takes the GPU only when told to: on few cells the CPU is the faster one.
        device=baseline_device(config),
    )


def baseline_device(config: RunConfig) -> str:
    """Give the device of a model without epochs."""
    if config.train.device != "cuda":
        return "cpu"
    return str(distributed.pick_device("cuda", World()))


def split_cells(cells: Cells, config: RunConfig) -> Split:
    """Draw the parts and let nothing past that leaks."""
    split = make_split(
        cells,
        config.protocol,
        seed=config.seed,
        fraction=config.data.fraction,
        label=str(config.data.label),
    )
    return firewall.enforce(
        cells,
        split,
        duplicates=config.protocol.duplicates,
        selection=config.protocol.selection,
    )


def run_id_of(config: RunConfig, data_fingerprint: str, split: Split) -> str:
    """Name the run by its science: the same on every machine and in every folder."""
    identity = {
        "config": protocols.identity(config, selects=learns_by_epochs(config)),
        "data": data_fingerprint,
        "split": split.fingerprint(),
        "protocol_version": protocols.VERSION,
    }
    words = (config.model.name, config.data.name, f"f{config.data.fraction:g}", f"s{config.seed}")
    return identify(identity, "-".join(words))


def hard_classes(cells: Cells, config: RunConfig) -> NDArray[np.int64]:
    """Find the classes that are reported on separately."""
    for name in config.data.hard_classes:
        if name not in cells.classes:
            raise UserError(
                f"data.hard_classes must be values of {config.data.label!r}",
                got=repr(name),
                remedy=nearest(name, cells.classes),
            )
    return np.array([cells.classes.index(name) for name in config.data.hard_classes], dtype=int)


def learner(job: Job, world: World, notice: Notice) -> models.Model:
    """Give the model, in the hands of the trainer if it learns by epochs."""
    if not job.by_epochs:
        return job.model  # type: ignore[return-value]
    from leadline import trainer

    config, labels_C = job.config, job.cells.labels_C
    assert labels_C is not None
    tracker = tracking.build(config.tracker, job.run_id)
    setting = trainer.Setting(
        train=config.train,
        seed=config.seed,
        device=distributed.pick_device(config.train.device, world),
        world=world,
        select_by=config.protocol.select_by,
        shuffled=config.protocol.order == "shuffled",
        vault=Vault(job.folder),
        notice=notice,
        tell=lambda text: tell(job.folder, text) if world.leads else None,
        track=lambda epoch, values: tracker.log(epoch, values) if world.leads else None,
    )
    return trainer.Classifier(
        job.model,  # type: ignore[arg-type]
        setting,
        metric_labels=config.protocol.metric_labels,
        class_weights=config.protocol.class_weights,
        whole_K=np.bincount(labels_C, minlength=len(job.cells.classes)),
    )


def tell(folder: Path, text: str) -> None:
    """Tell the person who waits, and the log."""
    say(text)
    append_log(folder, text)
