"""A configuration → a prepared run: cells, split, name, and a model that is not yet fitted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leadline import distributed, models, processes
from leadline.config import EmbeddingConfig, Gene2vecConfig, RunConfig, science
from leadline.config.tasks import TASKS
from leadline.data import cache
from leadline.data.cells import Cells, keep_variable, require_scale
from leadline.data.splits import leakage
from leadline.data.splits.draws import draw_at_random
from leadline.data.splits.split import Split
from leadline.distributed import World
from leadline.errors import UserError, nearest
from leadline.runs import starting_weights
from leadline.runs.identity import NamedRun, learns_by_epochs, resolved, run_id_of
from leadline.runs.record import State, append_log, state
from leadline.runs.starting_weights import WeightsSource
from leadline.runs.tasks.base import Job, Learner, binned_by_script, task_of


def prepare(config: RunConfig) -> Job:
    """Check that settings go together, load the cells, split them, name the run, make its model."""
    require_one_process(config, distributed.from_environment())
    task = task_of(config)
    task.requires(config)
    named = identify_run(config)
    config, found = named.config, named.starting_weights
    if state(named.folder) is not State.DONE:
        for origin in found.values():
            starting_weights.require_ready(origin, config)
            if not task.row.reports_seen_cells:
                reported = named.cells.take(named.split.test)
                starting_weights.require_unseen(origin, reported, config)
    model = make_model(config, found, named.split, named)
    bin_as_the_script(model, named)
    task.requires_of_model(model, config)
    require_scale(named.cells, model.accepts, config.model.name)
    return Job(named=named, task=task, model=model, hard=hard_classes(named.cells, config))


def identify_run(config: RunConfig) -> NamedRun:
    """Resolve a run's settings, read its cells, draw its split, and name it.

    Cells are read, and splits drawn, once for all runs of this process.
    """
    config = resolved(config)
    found = starting_weights.weights_sources(config)
    data = cache.load_once(config.data, Path(config.data_dir))
    hard_classes(data.cells, config)
    cells, config = with_positions(data.cells, config)
    data_part = [config.data.fraction, config.data.label, config.data.min_genes]
    drawn_from = [config.task, science(config.protocol), *data_part, config.seed]
    if config.protocol.selection == "holdout_scgpt":
        drawn_from += [config.model.name, str(found.get("pretrained"))]
        drawn_from += [getattr(config.model, name, "") for name in ("vocabulary", "folder")]
    drawn_from += [science(config.task_settings)] * (config.task_settings is not None)
    split = data.split(json.dumps(drawn_from), lambda: split_cells(data.cells, config))
    if config.data.variable_genes is not None:
        fewer = with_genes(data, split, config)
        cells = replace(fewer, positions_CD=cells.positions_CD)
    run_id = run_id_of(config, found, data.fingerprint, split)
    return NamedRun(
        config=config,
        cells=cells,
        split=split,
        data_fingerprint=data.fingerprint,
        starting_weights=found,
        run_id=run_id,
        folder=Path(config.runs_dir).expanduser() / run_id,
    )


def with_genes(data: cache.LoadedData, split: Split, config: RunConfig) -> Cells:
    """Keep the genes that vary most among all cells but the reported ones.

    These are the same for every model, seed and share of the labels.
    """
    count = config.data.variable_genes
    assert count is not None
    # A task that trains on no cell has no others, and chooses among the reported ones.
    sees = TASKS[config.task].trains
    others = np.setdiff1d(np.arange(len(data.cells)), split.test) if sees else split.test
    key = f"{count} {hashlib.sha256(others.tobytes()).hexdigest()}"
    which = "that are not reported on" if sees else "that are judged"
    return data.fewer_genes(key, lambda: keep_variable(data.cells, others, count, which))


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


def make_model(
    config: RunConfig,
    found: Mapping[str, WeightsSource],
    split: Split | None = None,
    named: NamedRun | None = None,
) -> Learner:
    """Make what the configuration names, not yet fitted; `found` says where its origins lie.

    A program outside is told of the cells of `named`, without labels, and writes into its log.
    """
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
        network.names_all_classes = config.protocol.named_classes == "all"
        cache = Path(config.runs_dir).expanduser().absolute() / ".cache"
        network.cache = cache / "tokens"
        keep_kernels(cache / "kernels")
        return network
    return models.build(
        chosen,
        seed=config.seed,
        threads=config.train.threads or processes.available(),
        cache=Path(config.runs_dir).expanduser() / ".cache",
        # A baseline takes the GPU only when told to: on few cells the CPU is the faster one.
        device=baseline_device(config),
        stream=stream_of_draw(config, split),
        whole=None if named is None else named.cells,
        log=None if named is None else lambda text: append_log(named.folder, text),
    )


def bin_as_the_script(model: Learner, named: NamedRun) -> None:
    """Let scGPT bin with the numbers of the paper's script, where cells are held out as there."""
    binned_G = binned_by_script(named.cells, named.config)
    if binned_G is None or getattr(named.config.model, "ties", "") != "random":
        return
    from leadline.models.scgpt.model import Scgpt
    from leadline.models.scgpt.tie_stream import TieStream

    assert isinstance(model, Scgpt)
    model.tie_stream = TieStream(named.cells, named.split, binned_G, seed=named.config.seed)


def stream_of_draw(config: RunConfig, split: Split | None) -> np.random.RandomState | None:
    """Give the stream that drew the labelled cells, where the paper's fit goes on with it.

    Its notebook on PBMC seeds numpy, draws, and leaves liblinear's random_state unset.
    """
    one_stream = getattr(config.model, "one_vs_rest", "") == "one_stream"
    if split is None or not one_stream or config.protocol.fewshot != "random":
        return None
    pool = np.concatenate([split.train, np.setdiff1d(split.val, split.test), split.unlabelled])
    return draw_at_random(pool, len(split.train), config.seed)[1]


def keep_kernels(folder: Path) -> None:
    """Let torch keep the kernels that it compiles, for other runs need the same ones."""
    for compiler in ("TORCHINDUCTOR", "TRITON"):
        os.environ.setdefault(f"{compiler}_CACHE_DIR", str(folder / compiler.lower()))


def baseline_device(config: RunConfig) -> str:
    """Give the device of a model without epochs."""
    if config.train.device != "cuda":
        return "cpu"
    return str(distributed.pick_device("cuda", World()))


def split_cells(cells: Cells, config: RunConfig) -> Split:
    """Draw the parts and let nothing past that leaks."""
    split = task_of(config).split(cells, config)
    return leakage.enforce(
        cells,
        split,
        duplicates=config.protocol.duplicates,
        selection=config.protocol.selection,
    )


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
