"""Where first weights and gene embeddings come from: a run of ours, or a file of somebody's.

The words of `model.pretrained` and `model.gene2vec` are read here. What enters a run's name is
the id of the run that made the weights, or the digest of their file; never a path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from leadline.config import RunConfig, TrainConfig, tasks
from leadline.data.cells import Cells
from leadline.data.splits import pretraining_cells
from leadline.errors import UserError, nearest
from leadline.runs import record
from leadline.runs.record import State
from leadline.runs.records import read_settings

RUN_ID = re.compile(r".+-[0-9a-f]{12}")
# What a finished pretraining run keeps in checkpoints/, in our own layout.
WEIGHTS, EMBEDDING = "pretrained.pt", "pretrained_gene2vec.npy"
# Settings of a model that name what it starts from → the words that name no file and no run.
KEYWORDS = {
    "pretrained": ("false", "published"),
    "gene2vec": ("false", "random", "built", "published"),
    "genes": ("own", "published"),
    "vocabulary": ("data", "released"),
    "vectors": (),
}
# (setting, model) → where the published files lie below data_dir, and where users get them.
PUBLISHED = {
    ("pretrained", "scbert"): (
        "checkpoints/scbert/panglao_pretrain.pth",
        "https://drive.weixin.qq.com/s?k=AJEAIQdfAAoUxhXE7r, linked in scBERT's README",
    ),
    ("gene2vec", "scbert"): (
        "checkpoints/scbert/gene2vec_16906.npy",
        "https://drive.weixin.qq.com/s?k=AJEAIQdfAAozQt5B8k, linked in scBERT's README",
    ),
    ("vectors", "gene_vectors"): (
        "checkpoints/scbert/gene2vec_16906.npy",
        "https://drive.weixin.qq.com/s?k=AJEAIQdfAAozQt5B8k, linked in scBERT's README",
    ),
    ("genes", "scbert"): (
        "checkpoints/scbert/genes.txt",
        "the var_names of panglao_10000.h5ad (data/ of clinicalml/sc-foundation-eval), one a line",
    ),
    ("pretrained", "scgpt"): (
        "checkpoints/scgpt",
        "args.json, best_model.pt and vocab.json of the whole-human model: Google Drive folder "
        "1oWh_-ZRdhtoGQ2Fw24HP41FgLoomVo-y, linked in scGPT's README",
    ),
}
# What makes a body of weights fit into another.
SIZES = ("size", "depth", "width", "heads", "head_width", "layers")
READ_AT_A_TIME = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """The run or file that a setting of a model names.

    Attributes
    ----------
    path
        The file, or the folder of a released model.
    identity
        What enters the run's name.
    folder
        The record of the run that made it, if it is one of ours.
    """

    setting: str
    path: Path
    identity: str
    folder: Path | None = None


def weights_sources(config: RunConfig) -> dict[str, WeightsSource]:
    """Read those settings of a run's model that name a file or a run.

    A run of ours need not be done yet: its id says all that is asked here.

    Raises
    ------
    UserError
        When a file is not there.
    """
    found = {}
    for setting in KEYWORDS:
        word = getattr(config.model, setting, None)
        if isinstance(word, str):
            origin = read(setting, word.strip(), config)
            if origin is not None:
                found[setting] = origin
    return found


def identities(config: RunConfig, found: Mapping[str, WeightsSource]) -> dict[str, str]:
    """Give what each such setting adds to the run's name: an identity, or its plain word."""
    words = {name: getattr(config.model, name, None) for name in KEYWORDS}
    plain = {name: word.strip().lower() for name, word in words.items() if isinstance(word, str)}
    return plain | {name: origin.identity for name, origin in found.items()}


def read(setting: str, word: str, config: RunConfig) -> WeightsSource | None:
    """Read one setting; None where it names nothing outside the run."""
    if word.lower() == "published":
        own = (setting, config.model.name)
        place, source = PUBLISHED[own if own in PUBLISHED else (setting, "scbert")]
        path = Path(config.data_dir).expanduser() / place
        if not path.exists():
            raise UserError(
                f"model.{setting}=published needs {path}",
                got="nothing there",
                remedy=f"get {source}",
            )
        return WeightsSource(setting=setting, path=path, identity=digest(path))
    if word.lower() in KEYWORDS[setting]:
        return None
    path = Path(word).expanduser()
    if RUN_ID.fullmatch(path.name) and setting != "genes" and not path.is_file():
        # The path of a record, as `leadline run` prints it, will do as well as its id.
        runs = Path(config.runs_dir).expanduser() if path.name == word else path.parent
        folder = runs / path.name
        kept = folder / record.CHECKPOINTS / (WEIGHTS if setting == "pretrained" else EMBEDDING)
        return WeightsSource(setting=setting, path=kept, identity=path.name, folder=folder)
    if not path.exists():
        raise UserError(
            f"model.{setting} must be {', '.join([*KEYWORDS[setting], ''])}a run's id or a file",
            got=repr(word),
            remedy=nearest(word, [*KEYWORDS[setting], *pretraining_runs(config)]),
        )
    return WeightsSource(setting=setting, path=path, identity=digest(path))


def pretraining_runs(config: RunConfig) -> list[str]:
    """List the finished runs of which a run could start."""
    folders = sorted(Path(config.runs_dir).expanduser().glob(f"*-pretrain-*/{record.DONE}"))
    return [path.parent.name for path in folders]


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, or of the files of a folder."""
    stat = path.stat()
    if path.is_file():
        return f"sha256:{_digest_of_file(path, stat.st_size, stat.st_mtime_ns)}"
    parts = {item.name: digest(item) for item in sorted(path.iterdir()) if item.is_file()}
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


@lru_cache(maxsize=64)
def _digest_of_file(path: Path, size: int, changed: int) -> str:
    # Size and date are part of the key alone: a file that was changed is read again.
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(READ_AT_A_TIME):
            found.update(chunk)
    return found.hexdigest()


def require_ready(origin: WeightsSource, config: RunConfig) -> None:
    """Refuse a run that is not done, made something else, or whose weights were changed."""
    if origin.folder is None:
        return
    if record.state(origin.folder) is not State.DONE:
        raise UserError(
            f"model.{origin.setting} must name a finished pretraining run",
            got=f"{origin.identity}, which is {record.state(origin.folder)} in "
            f"{origin.folder.parent}",
            remedy=f"make it with {command(origin)}",
        )
    facts = record.read_facts(origin.folder)
    wanted = config.model.name if origin.setting == "pretrained" else "gene2vec"
    task = facts.get("task", "classify")
    keeps_weights = task in tasks.TASKS and tasks.TASKS[task].product == tasks.WEIGHTS
    if not keeps_weights or facts["model"] != wanted:
        raise UserError(
            f"model.{origin.setting} of {config.model.name} must name a run of task=pretrain "
            f"model={wanted}",
            got=f"{origin.identity}, a run of task={task} model={facts['model']}",
            remedy=nearest(origin.identity, pretraining_runs(config)),
        )
    if origin.setting == "pretrained":
        require_size(origin, config)
    expected = facts["fit"]["checkpoints"].get(origin.path.name)
    if not origin.path.is_file() or digest(origin.path) != expected:
        raise UserError(
            "the weights of a finished run must not change",
            got=f"{origin.path}, which is {'another' if origin.path.is_file() else 'not there'}",
            remedy=f"delete {origin.folder} and run it again: {command(origin)}",
        )


def require_size(origin: WeightsSource, config: RunConfig) -> None:
    """Refuse a network of another size than the one that was pretrained."""
    assert origin.folder is not None
    stored = read_settings(origin.folder)["model"]
    here = {name: getattr(config.model, name, None) for name in SIZES if name in stored}
    other = [name for name, value in here.items() if value != stored[name]]
    if not other or getattr(config.model, "allow_missing", None):
        return
    words = [f"model.{name}={stored[name]}" for name in (["size"] if "size" in other else other)]
    raise UserError(
        "a network must have the size of the pretraining that it starts from",
        got=", ".join(f"model.{name}={here[name]} instead of {stored[name]}" for name in other),
        remedy=f"add {' '.join(words)}",
    )


def require_unseen(origin: WeightsSource, reported: Cells, config: RunConfig) -> None:
    """Refuse what has seen cells that are to be reported on; of files nothing is known."""
    if origin.folder is not None:
        copies = config.protocol.duplicates != "warn"
        kept = pretraining_cells.read(origin.folder)
        pretraining_cells.require_unseen(kept, reported, origin.identity, copies=copies)


def command(origin: WeightsSource) -> str:
    """Write the command that makes a run: from its configuration, else from its id."""
    assert origin.folder is not None
    try:
        stored = read_settings(origin.folder)
        words = [f"model={stored['model']['name']}", f"data={stored['data']['name']}"]
        words += [f"protocol={stored['protocol']['name']}", f"seed={stored['seed']}"]
        in_folds = {key: stored["protocol"].get(key) for key in ("folds", "fold")}
        words += [f"protocol.{key}={value}" for key, value in in_folds.items() if value is not None]
        words += changed_words(stored)
    except (UserError, KeyError, TypeError):
        model, _, rest = origin.identity.partition("-pretrain-")
        named = re.fullmatch(r"(.+)-f[\d.e-]+-s(\d+)-[0-9a-f]{12}", rest)
        words = [f"model={model}"]
        words += (
            [f"data={named[1]}", f"seed={named[2]}", "and the settings that it had"]
            if named
            else []
        )
    return " ".join(["leadline run task=pretrain", *words])


def changed_words(stored: dict[str, Any]) -> list[str]:
    """Write the settings of a stored run that are not what they are by default."""
    default = {item.name: getattr(TrainConfig(), item.name) for item in fields(TrainConfig)}
    words = [
        f"train.{key}={value}"
        for key, value in stored["train"].items()
        if key in default and value != default[key]
    ]
    shown = ("size", "gene2vec")
    return [
        f"model.{key}={stored['model'][key]}" for key in shown if key in stored["model"]
    ] + words
