"""What a run works on: cells, split, the run's name, and the model in the right hands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline import distributed, models, processes
from leadline.config import EmbeddingConfig, Gene2vecConfig, RunConfig, resolve, science
from leadline.data import cache
from leadline.data.cells import Cells, keep_variable, require_scale
from leadline.data.splits import leakage
from leadline.data.splits.split import Split, corpus_split, make_split
from leadline.distributed import World
from leadline.errors import UserError, nearest
from leadline.processes import Notice
from leadline.progress import say
from leadline.runs import starting_weights, tracking
from leadline.runs.record import State, Vault, append_log, identify, state
from leadline.runs.starting_weights import Origin
from leadline.runs.tracking import Tracker

if TYPE_CHECKING:
    from leadline.models.gene2vec import GeneEmbedding
    from leadline.runs.tasks.pretrain import Pretraining
    from leadline.training import Setting

# Not yet fitted; who fits it depends on what it is.
Learner: TypeAlias = "models.Model | models.TorchModel | GeneEmbedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, ready to be computed; every rank makes the same from the same configuration.

    `hard` holds the classes that are reported on separately.
    """

    config: RunConfig
    model: Learner
    cells: Cells
    split: Split
    hard: NDArray[np.int64]
    data_fingerprint: str
    run_id: str
    folder: Path

    @property
    def pretrains(self) -> bool:
        """Say whether genes are learnt from genes, instead of labels."""
        return self.config.task == "pretrain"

    @property
    def by_epochs(self) -> bool:
        """Say whether the trainer fits the model."""
        return learns_by_epochs(self.config)


def learns_by_epochs(config: RunConfig) -> bool:
    """Say whether a model goes through the trainer, and so may choose an epoch."""
    return models.learns_by_epochs(config.model)


def can_pretrain(config: RunConfig) -> bool:
    """Say whether a model may know task=pretrain; a network of which is asked again later."""
    return learns_by_epochs(config) or isinstance(config.model, Gene2vecConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What a run works on, and its name: all that can be known without its model."""

    config: RunConfig
    cells: Cells
    split: Split
    data_fingerprint: str
    run_id: str
    folder: Path


def prepare(config: RunConfig) -> Job:
    """Load the cells, split them, and name the run."""
    config = resolve.resolve(config, selects=learns_by_epochs(config))
    require_one_process(config, distributed.from_environment())
    resolve.require_task(config, pretrains=can_pretrain(config))
    found, matter = starting_weights.origins(config), name(config)
    if state(matter.folder) is not State.DONE:
        for origin in found.values():
            starting_weights.require_ready(origin, config)
            starting_weights.require_unseen(origin, matter.cells.take(matter.split.test), config)
    cells, model = matter.cells, make_model(config, found)
    require_scale(cells, model.accepts, config.model.name)
    return Job(
        config=matter.config,
        model=model,
        cells=matter.cells,
        split=matter.split,
        hard=hard_classes(cells, config),
        data_fingerprint=matter.data_fingerprint,
        run_id=matter.run_id,
        folder=matter.folder,
    )


def name(config: RunConfig) -> Matter:
    """Name a run; cells are read, and splits drawn, once for all runs of this process."""
    config = resolve.resolve(config, selects=learns_by_epochs(config))
    data = cache.take(config.data, Path(config.data_dir))
    hard_classes(data.cells, config)
    cells, config = with_positions(data.cells, config)
    data_part = [config.data.fraction, config.data.label, config.data.min_genes]
    drawn_from = [config.task, science(config.protocol), *data_part, config.seed]
    split = data.split(json.dumps(drawn_from), lambda: split_cells(data.cells, config))
    if config.data.variable_genes is not None:
        fewer = with_genes(data, split, config)
        cells = replace(fewer, positions_CD=cells.positions_CD)
    run_id = run_id_of(config, data.fingerprint, split)
    return Matter(
        config=config,
        cells=cells,
        split=split,
        data_fingerprint=data.fingerprint,
        run_id=run_id,
        folder=Path(config.runs_dir).expanduser() / run_id,
    )


def with_genes(data: cache.Shelf, split: Split, config: RunConfig) -> Cells:
    """Keep the genes that vary most among all cells but the reported ones.

    These are the same for every model, seed and share of the labels.
    """
    count = config.data.variable_genes
    assert count is not None
    others = np.setdiff1d(np.arange(len(data.cells)), split.test)
    key = f"{count} {hashlib.sha256(split.test.tobytes()).hexdigest()}"
    return data.fewer_genes(key, lambda: keep_variable(data.cells, others, count))


def with_positions(cells: Cells, config: RunConfig) -> tuple[Cells, RunConfig]:
    """Add what a probe reads to the cells, and its digest to the run's science."""
    if not isinstance(config.model, EmbeddingConfig):
        return cells, config
    from leadline.data.embeddings import placed

    cells, model = placed(cells, config.data, Path(config.data_dir), config.model)
    return cells, replace(config, model=model)


def require_one_process(config: RunConfig, world: World) -> None:
    """Refuse to let several processes fit a model that one process fits."""
    if world.size > 1 and not learns_by_epochs(config):
        raise UserError(
            f"model={config.model.name} is computed by one process",
            got=f"{world.size} of them",
            remedy="start one task, and give it cores with train.threads",
        )


def make_model(config: RunConfig, found: Mapping[str, Origin]) -> Learner:
    """Make what the configuration names, not yet fitted; `found` says where its origins lie."""
    # The model is told of files; the run's configuration keeps the words.
    paths = {key: str(origin.path) for key, origin in found.items() if key != "pretrained"}
    chosen = replace(config.model, **paths)
    if isinstance(chosen, Gene2vecConfig):
        from leadline.models.gene2vec import GeneEmbedding

        return GeneEmbedding(chosen)
    if learns_by_epochs(config):
        from leadline.models.network import Start

        first = found.get("pretrained")
        start = None if first is None else Start(path=first.path, identity=first.identity)
        network = models.build_network(chosen, train=config.train, start=start)
        network.cache = Path(config.runs_dir).expanduser() / ".cache" / "tokens"
        return for_task(network, config)
    return models.build(
        config.model,
        seed=config.seed,
        threads=config.train.threads or processes.available(),
        cache=Path(config.runs_dir).expanduser() / ".cache",
        # A baseline takes the GPU only when told to: on few cells the CPU is the faster one.
        device=baseline_device(config),
    )


def for_task(network: models.TorchModel, config: RunConfig) -> models.TorchModel:
    """Refuse a network that cannot do what is asked of it."""
    if config.task == "pretrain":
        from leadline.runs.tasks.pretrain import require_pretrainable

        return require_pretrainable(network, config.model.name)
    return network


def baseline_device(config: RunConfig) -> str:
    """Give the device of a model without epochs."""
    if config.train.device != "cuda":
        return "cpu"
    return str(distributed.pick_device("cuda", World()))


def split_cells(cells: Cells, config: RunConfig) -> Split:
    """Draw the parts and let nothing past that leaks."""
    make = corpus_split if config.task == "pretrain" else make_split
    split = make(
        cells,
        config.protocol,
        seed=config.seed,
        fraction=config.data.fraction,
        label=str(config.data.label),
        min_genes=config.data.min_genes,
    )
    return leakage.enforce(
        cells,
        split,
        duplicates=config.protocol.duplicates,
        selection=config.protocol.selection,
    )


def run_id_of(config: RunConfig, data_fingerprint: str, split: Split) -> str:
    """Name the run by its science: the same on every machine and in every folder."""
    identity = {
        "config": resolve.identity(
            config,
            selects=learns_by_epochs(config),
            origins=starting_weights.identities(config, starting_weights.origins(config)),
        ),
        "data": data_fingerprint,
        "split": split.fingerprint(),
        "protocol_version": resolve.VERSION,
    }
    task = ["pretrain"] if config.task == "pretrain" else []
    words = [*task, config.data.name, f"f{config.data.fraction:g}", f"s{config.seed}"]
    return identify(identity, "-".join([config.model.name, *words]))


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


def learner(job: Job, world: World, notice: Notice, tracker: Tracker) -> models.Model:
    """Give the model, in the hands of the trainer if it learns by epochs."""
    if not job.by_epochs:
        return job.model  # type: ignore[return-value]
    from leadline import training

    config, labels_C = job.config, job.cells.labels_C
    assert labels_C is not None
    return training.Classifier(
        job.model,  # type: ignore[arg-type]
        setting_of(job, world, notice, tracker),
        metric_labels=config.protocol.metric_labels,
        class_weights=config.protocol.class_weights,
        whole_K=np.bincount(labels_C, minlength=len(job.cells.classes)),
    )


def pretrainer(job: Job, world: World, notice: Notice, tracker: Tracker) -> Pretraining:
    """Give the model in the hands of what pretrains it."""
    from leadline.runs.tasks import pretrain

    if isinstance(job.config.model, Gene2vecConfig):
        return pretrain.Embedder(job.model, Vault(job.folder))  # type: ignore[arg-type]
    return pretrain.Pretrainer(job.model, setting_of(job, world, notice, tracker))  # type: ignore[arg-type]


def setting_of(job: Job, world: World, notice: Notice, tracker: Tracker) -> Setting:
    """Tell the trainer all that it must know of a run."""
    from leadline import training

    config = job.config
    return training.Setting(
        train=config.train,
        seed=config.seed,
        device=distributed.pick_device(config.train.device, world),
        world=world,
        select_by=config.protocol.select_by,
        shuffled=config.protocol.order == "shuffled",
        vault=Vault(job.folder),
        notice=notice,
        tell=lambda text: tell(job.folder, text) if world.leads else None,
        track=tracker.log,
    )


def arm_of(config: RunConfig) -> str:
    """Name the arm of a run that is made for no study, too."""
    own = config.model.name
    return config.arm or (own if config.task == "classify" else f"{own} {config.task}")


def tracker_of(job: Job, *, say_too: bool) -> Tracker:
    """Make the tracker of a run; a rank among several leaves its complaints to the log."""
    config = job.config
    identity = tracking.Identity(
        run_id=job.run_id,
        study=config.study or None,
        arm=arm_of(config),
        tags=tracking.tags_of(config),
        config=asdict(config),
    )

    def complain(text: str) -> None:
        (tell if say_too else append_log)(job.folder, text)

    return tracking.build(config.tracker, identity, job.folder, complain)


def tell(folder: Path, text: str) -> None:
    """Tell the person who waits, and the log."""
    say(text)
    append_log(folder, text)
