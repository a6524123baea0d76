"""`leadline store`: cells → tokens on disk, their digests compared, what a store holds."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from leadline.config.checks import within
from leadline.data.cells.read import ColumnNames
from leadline.data.token_store import check, open_store
from leadline.data.token_store_build import SHARD_CELLS, BlockTokenizer, BuildSettings, build
from leadline.errors import GOOD, UserError
from leadline.models.scbert import tokens as scbert
from leadline.models.scgpt import tokens as scgpt


def call(chosen: argparse.Namespace) -> int:
    """Build, check, show, or judge rules."""
    if chosen.action == "build":
        made(chosen)
        return GOOD
    for folder in chosen.paths:
        if chosen.action == "check":
            check(folder)
            print(f"{folder}: every file is what was written")
        elif chosen.action == "floors":
            print("\n".join(floors(folder)))
        else:
            print("\n".join(described(folder)))
    return GOOD


def made(chosen: argparse.Namespace) -> None:
    """Build a store, and say what is in it."""
    if chosen.out is None:
        raise UserError(
            "leadline store build needs a place", got="no --out", remedy="add --out FOLDER"
        )
    columns = ColumnNames(
        label=chosen.label,
        batch=chosen.batch,
        split=chosen.split,
        genes=chosen.gene_column,
        library=chosen.library_column,
    )
    tokenizer, blocks = tokens_of(chosen)
    settings = BuildSettings(
        columns=columns,
        tokenizer=tokenizer,
        blocks=blocks,
        layer=chosen.layer,
        scale=chosen.scale,
        genes=None if chosen.genes is None else scbert.read_genes(chosen.genes),
        shard_cells=chosen.shard_cells or SHARD_CELLS,
    )
    out = Path(chosen.out)
    build(chosen.paths, out, settings)
    print("\n".join(described(out)))
    print(out)


def tokens_of(chosen: argparse.Namespace) -> tuple[dict[str, Any], BlockTokenizer]:
    """Name the tokens that are asked for, and give what makes them."""
    if chosen.model == "scbert":
        total = chosen.total
        return scbert.tokenizer(total), partial(scbert.block_tokens, total=total)
    within("--bins", chosen.bins, 3, scgpt.MOST_BINS)
    return scgpt.tokenizer(chosen.bins), partial(scgpt.block_tokens, bins=chosen.bins)


def floors(folder: Path) -> list[str]:
    """Judge the rules of Table 3 as a pretraining run on this store does, without a network."""
    from leadline.config.compose import compose
    from leadline.models.network import DrawKey
    from leadline.models.scbert.pretraining import heuristics
    from leadline.runs.prepare import identify_run

    total = open_store(folder).rows.tokenizer.get("total", "measured")
    words = ["task=pretrain", "model=scbert", f"model.total={total}", "data=store"]
    named = identify_run(compose([*words, f"data.path={folder}"]))
    train, reported = (
        scbert.scbert_tokens(None, named.cells.take(rows), total=total)
        for rows in (named.split.train, named.split.test)
    )
    found = heuristics(train, reported, DrawKey(seed=named.config.seed, epoch=0))
    return [f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items()]


def described(folder: Path) -> list[str]:
    """Say in a few lines what a store holds."""
    manifest = open_store(folder).manifest
    size = sum(file["bytes"] for file in manifest["files"].values())
    plan, values = manifest["plan"], manifest["values"]
    lines = [
        f"{manifest['cells']:,} cells x {manifest['genes']:,} genes, {values:,} tokens that are "
        f"not zero, in {manifest['shards']:,} shards",
        f"{size / 2**20:,.1f} MiB, {size / max(values, 1):.2f} bytes a token",
        f"tokens of {json.dumps(plan['tokenizer'])}",
        "from " + ", ".join(source["name"] for source in plan["sources"]),
    ]
    lines += [
        f"data.{option}={plan[option]} ({len(manifest['names'][table]):,} values)"
        for option, table in (("label", "labels"), ("batch", "batches"), ("split", "parts"))
        if plan[option] is not None
    ]
    return [*lines, *manifest["notes"], f"fingerprint {manifest['fingerprint']}"]
