"""scGPT's weights from released folders and our files: sizes, vocabulary, names of attention.

A released folder holds `args.json`, `best_model.pt` and `vocab.json`. Attention has gone by three
names: torch's `in_proj_weight`, flash-attn's `Wqkv.weight`, and either behind `_impl`. The rows are
the same. A loader that leaves out what it does not know keeps random attention; ours refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from leadline.errors import UserError
from leadline.models import weights
from leadline.models.scgpt import vocabulary
from leadline.models.scgpt.vocabulary import Vocabulary

NAME = "scgpt"
ARGS, WEIGHTS, VOCABULARY = "args.json", "best_model.pt", vocabulary.FILE
BODY = ("encoder.", "value_encoder.", "transformer_encoder.")
# The name in `args.json` → ours.
SIZES = {"embsize": "width", "nheads": "heads", "nlayers": "layers", "d_hid": "hidden"}
FLASH = re.compile(r"\.self_attn\.Wqkv\.(weight|bias)$")
TORCH = re.compile(r"\.self_attn\.in_proj_(weight|bias)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a network starts from; what the file does not tell is None or empty."""

    state: dict[str, Tensor]
    vocabulary: Vocabulary | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


def begin(path: Path) -> Beginning:
    """Read a released folder, a file of ours, or a bare state dict."""
    if path.is_dir():
        return begin_with_folder(path)
    held = weights.unpack(path)
    state = in_our_names(weights.read(path))
    if not isinstance(held, Mapping) or "genes" not in held:
        return Beginning(state=state)
    if held.get("model", NAME) != NAME:
        raise UserError(
            f"{path.name} must hold weights of scGPT",
            got=f"weights of {held['model']}",
            remedy="name another run or file with model.pretrained=",
        )
    genes = held["genes"]
    if not isinstance(genes, list) or not all(isinstance(gene, str) for gene in genes):
        raise UserError(
            f"the genes of {path.name} must be a list of names",
            got=f"a {type(genes).__name__}",
            remedy="make the file again with `leadline run task=pretrain`",
        )
    return Beginning(state=state, vocabulary=vocabulary.with_special(Vocabulary(tuple(genes))))


def begin_with_folder(folder: Path) -> Beginning:
    """Read a released folder."""
    lacking = [name for name in (ARGS, WEIGHTS, VOCABULARY) if not (folder / name).is_file()]
    if lacking:
        raise UserError(
            f"a released folder of scGPT holds {ARGS}, {WEIGHTS} and {VOCABULARY}",
            got=f"{str(folder)!r} without {', '.join(lacking)}",
            remedy="fetch the whole folder",
        )
    return Beginning(
        state=in_our_names(weights.read(folder / WEIGHTS)),
        vocabulary=vocabulary.of_file(folder / VOCABULARY),
        sizes=sizes_of(folder / ARGS),
    )


def sizes_of(path: Path) -> dict[str, int]:
    """Read the sizes from `args.json`."""
    rule = f"{ARGS} must be a JSON object that gives {', '.join(SIZES)} as whole numbers"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(rule, got=str(error), remedy="fetch the released folder again") from error
    found: dict[str, Any] = {}
    for theirs, ours in SIZES.items():
        value = held.get(theirs) if isinstance(held, dict) else None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(
                rule, got=f"{theirs}={value!r}", remedy="fetch the released folder again"
            )
        found[ours] = value
    return found


def in_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give attention torch's names, which are ours."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        ours = FLASH.sub(r".self_attn.in_proj_\1", name.replace(".self_attn._impl.", ".self_attn."))
        if ours in renamed:
            raise UserError(
                "a checkpoint must hold each attention once",
                got=f"{ours} under two names",
                remedy="keep one of them in the file",
            )
        renamed[ours] = value
    return renamed


def in_flash_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give attention the names that the released checkpoints have."""
    return {TORCH.sub(r".self_attn.Wqkv.\1", name): value for name, value in state.items()}


def is_body(name: str) -> bool:
    """Say whether a weight belongs to what is pretrained; the others are heads."""
    return name.startswith(BODY)
