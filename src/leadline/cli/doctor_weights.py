"""What `leadline doctor` says of weights: released ones, ours, and those of any file.

Each line is (good, text), as everywhere in doctor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from leadline.errors import UserError
from leadline.models import gene2vec, weights
from leadline.models.scbert.model import POSITIONS, in_body
from leadline.models.scbert.network import N_TOKENS, AttentionOptions, ScbertNetwork, Shape
from leadline.models.scbert.tokens import read_genes
from leadline.models.scgpt import weights as scgpt_weights
from leadline.models.scgpt.network import ScgptNetwork as ScgptNetwork
from leadline.models.scgpt.network import Sizes
from leadline.models.weights import Audit
from leadline.runs import starting_weights

Line = tuple[bool, str]
# Of the released models, as scBERT's code and scGPT's args.json have them.
SCBERT_GENES, SCBERT_WIDTH = 16_906, 200
SCBERT_RELEASED = (6, SCBERT_WIDTH)
SCGPT_RELEASED = {"vocabulary": 60_697, "width": 512, "heads": 8, "layers": 12, "hidden": 512}
SCBERT_MARK, SCGPT_MARK = "performer.net.layers.", "transformer_encoder.layers."


def of_model(name: str, data_dir: Path) -> list[Line]:
    """Look at everything that was released of one model."""
    lines = []
    for (setting, model), (place, source) in starting_weights.PUBLISHED.items():
        if model != name:
            continue
        path = data_dir.expanduser() / place
        if not path.exists():
            lines.append((False, f"model.{setting}=published: {path} is missing: get {source}"))
            continue
        try:
            lines += of_released(setting, model, path)
        except UserError as error:
            lines.append((False, f"model.{setting}=published: {error}"))
    return lines


def of_released(setting: str, model: str, path: Path) -> list[Line]:
    """Look at one released file or folder."""
    if setting == "gene2vec":
        genes = np.array([str(i) for i in range(SCBERT_GENES)])
        if path.with_name(gene2vec.GENES_FILE).is_file():
            genes = read_genes(path.with_name(gene2vec.GENES_FILE))
        gene2vec.read(path, genes, SCBERT_WIDTH)
        return [
            (
                True,
                f"{path}: {len(genes):,} genes x {SCBERT_WIDTH}, {starting_weights.digest(path)}",
            )
        ]
    if setting == "genes":
        count = len(read_genes(path))
        wanted = "" if count == SCBERT_GENES else f", where the released model has {SCBERT_GENES:,}"
        return [(count == SCBERT_GENES, f"{path}: {count:,} genes{wanted}")]
    if path.is_dir():
        return of_folder(path)
    return of_file(path)


def of_file(path: Path) -> list[Line]:
    """Look at a file of weights, whosever it is."""
    state = weights.read(path)
    size = f"{len(state):,} tensors, {sum(x.numel() for x in state.values()):,} numbers"
    lines = [(True, f"{path}: {size}, {starting_weights.digest(path)}")]
    if any(name.startswith(SCBERT_MARK) for name in state):
        return [*lines, *of_scbert(state)]
    state = scgpt_weights.in_our_names(state)
    if any(name.startswith(SCGPT_MARK) for name in state):
        return [*lines, *of_scgpt(state, sizes_seen(state))]
    shown = weights.listed(sorted(state))
    return [*lines, (False, f"  neither scBERT's nor scGPT's weights; the first are {shown}")]


def of_folder(folder: Path) -> list[Line]:
    """Look at a released folder of scGPT."""
    beginning = scgpt_weights.begin_with_folder(folder)
    assert beginning.vocabulary is not None
    found = {"vocabulary": len(beginning.vocabulary), **beginning.sizes}
    differ = {key: found[key] for key, value in SCGPT_RELEASED.items() if found[key] != value}
    said = ", ".join(f"{key} {value:,}" for key, value in found.items())
    lines = [(True, f"{folder}: {said}; {starting_weights.digest(folder)}")]
    if differ:
        told = ", ".join(f"{key} {SCGPT_RELEASED[key]:,}" for key in differ)
        lines.append((True, f"  not the whole-human model of the paper, which has {told}"))
    return [*lines, *of_scgpt(beginning.state, sizes_seen(beginning.state) | found)]


def of_scbert(state: Mapping[str, Tensor]) -> list[Line]:
    """Hold weights against the scBERT network of their own size."""
    try:
        inner, width = state[f"{SCBERT_MARK}0.0.fn.to_q.weight"].shape
        head_width = state[f"{SCBERT_MARK}0.0.fn.fast_attention.projection_matrix"].shape[1]
    except (KeyError, ValueError):
        return [(False, "  scBERT's first block is not whole: the file was cut or renamed")]
    shape = Shape(
        positions=len(state[POSITIONS]) if POSITIONS in state else SCBERT_GENES + 1,
        depth=count(state, SCBERT_MARK),
        width=width,
        heads=inner // head_width,
        head_width=head_width,
    )
    table_ND = torch.zeros(shape.positions, width) if POSITIONS in state else None
    with torch.random.fork_rng([]):
        head = nn.Linear(width, N_TOKENS)
        network = ScbertNetwork(shape, AttentionOptions(), positions_ND=table_ND, head=head)
    genes = f"{shape.positions - 1:,} genes with gene2vec" if POSITIONS in state else "no gene2vec"
    said = f"scBERT, {shape.depth} blocks of width {width}, {shape.heads} heads, {genes}"
    audit = weights.compare(network, network.state_dict(), dict(state), lambda name: True)
    released = "" if (shape.depth, width) == SCBERT_RELEASED else "; not the released size"
    return [(True, f"  {said}{released}"), audited(body_only(audit, in_body))]


def body_only(audit: Audit, body: Callable[[str], bool]) -> Audit:
    """Leave heads out of an account: each task has another."""
    return replace(
        audit,
        missing=tuple(filter(body, audit.missing)),
        unexpected=tuple(filter(body, audit.unexpected)),
        wrong_shape={name: two for name, two in audit.wrong_shape.items() if body(name)},
    )


def of_scgpt(state: Mapping[str, Tensor], sizes: Mapping[str, int]) -> list[Line]:
    """Hold weights against the scGPT network of the sizes that belong to them."""
    wanted = {name: sizes.get(name, value) for name, value in SCGPT_RELEASED.items()}
    made_of = Sizes(
        vocabulary=wanted["vocabulary"],
        width=wanted["width"],
        heads=wanted["heads"],
        layers=wanted["layers"],
        hidden=wanted["hidden"],
        classes=0,
    )
    with torch.random.fork_rng([]):
        network = ScgptNetwork(made_of, levels=[0.0, 1.0])
    said = ", ".join(f"{name} {value:,}" for name, value in wanted.items() if name in sizes)
    audit = weights.compare(network, network.state_dict(), dict(state), lambda name: True)
    return [(True, f"  scGPT, {said}"), audited(body_only(audit, scgpt_weights.is_body))]


def sizes_seen(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read sizes off the weights; the number of heads cannot be seen."""
    seen = {"layers": count(state, SCGPT_MARK)}
    if "encoder.embedding.weight" in state:
        seen["vocabulary"], seen["width"] = state["encoder.embedding.weight"].shape
    first = state.get(f"{SCGPT_MARK}0.linear1.weight")
    return seen | ({} if first is None else {"hidden": first.shape[0]})


def count(state: Mapping[str, Tensor], mark: str) -> int:
    """Count the blocks whose names begin alike."""
    numbers = {name.removeprefix(mark).partition(".")[0] for name in state if name.startswith(mark)}
    return len(numbers)


def audited(audit: Audit) -> Line:
    """Say in one line whether the whole body is there."""
    found = {
        "missing": audit.missing,
        "unknown": audit.unexpected,
        "of another shape": tuple(audit.wrong_shape),
    }
    shown = {
        what: weights.listed([weights.with_shapes(name, audit) for name in names])
        for what, names in found.items()
    }
    wrong = [f"{len(found[what])} {what} ({shown[what]})" for what in found if found[what]]
    share = audit.parameters_loaded / max(audit.parameters, 1)
    said = f"  {len(audit.matched):,} tensors fit, {share:.1%} of the network's parameters"
    return (not wrong, f"{said}; {'; '.join(wrong)}" if wrong else f"{said}; the body is whole")
