"""One pass from `.h5ad` files, read in blocks, to a token store; killed, it goes on.

Everything is written beside the store that is to be, into NAME.building: PLAN.json says what is
built, a shard is done once its .json is there, and the whole is renamed in the end. The same files
and settings give the same bytes, however often the build was interrupted.

Legend: C cells, B cells of a block, G genes, N tokens that are not zero.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from leadline import files, locks
from leadline.data.cells import Cells
from leadline.data.cells.genes import kind_of_genes, match_keys
from leadline.data.cells.h5ad_blocks import H5adBlocks
from leadline.data.cells.obs import unique_ids
from leadline.data.cells.read import ColumnNames
from leadline.data.token_store import (
    BUILDING,
    FORMAT,
    MANIFEST,
    TokenStore,
    digest_of,
    fingerprint_of,
    open_store,
    read_manifest,
)
from leadline.errors import UserError
from leadline.progress import progress, say

# Cells that are in memory at a time, and that one digest stands for.
BLOCK_CELLS = 4096
SHARD_CELLS = 16 * BLOCK_CELLS
MOST_GENES = 1 << 16
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

# How many tokens each cell of a block has that are not zero, their genes, and the tokens.
BlockTokens = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]
# (genes of a file, genes of the store) → what turns blocks of that file into tokens.
BlockTokenizer = Callable[[NDArray[np.str_], NDArray[np.str_]], Callable[[Cells], BlockTokens]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What is built, beside the files: columns of their tables, genes (None: those of all files).

    `tokenizer` names what `blocks` makes, and is part of the store.
    """

    columns: ColumnNames
    tokenizer: Mapping[str, Any]
    blocks: BlockTokenizer
    layer: str | None = None
    scale: str | None = None
    genes: NDArray[np.str_] | None = None
    shard_cells: int = SHARD_CELLS


def build(paths: Sequence[Path], out: Path, settings: BuildSettings) -> TokenStore:
    """Build a store of the cells of all files, or go on with a build, and open it.

    Raises
    ------
    UserError
        When a file cannot be used, the place holds something else, or the disk is full.
    """
    if settings.shard_cells < 1 or settings.shard_cells % BLOCK_CELLS:
        raise UserError(
            f"--shard-cells must be a multiple of {BLOCK_CELLS:,}",
            got=f"{settings.shard_cells:,}",
            remedy=f"leave it out for {SHARD_CELLS:,}",
        )
    sources = [H5adBlocks(path, settings.columns, settings.layer, settings.scale) for path in paths]
    genes, told = common_genes(sources, settings.genes)
    plan = plan_of(sources, genes, settings)
    place = out.with_name(out.name + BUILDING)
    if out.exists():
        require_same_plan(out, plan)
        # Who was killed behind the rename left an empty folder.
        if not (place / "store").exists():
            shutil.rmtree(place, ignore_errors=True)
        return open_store(out)
    for line in told:
        say(line)
    place.mkdir(parents=True, exist_ok=True)
    try:
        with locks.hold(place):
            Build(place, sources, genes, plan, settings, told).run()
            os.rename(place / "store", out)
            files.flush_folder(out.parent)
            (place / "PLAN.json").unlink(missing_ok=True)
    except locks.Busy as error:
        raise UserError(
            "one process builds a store", got=str(error), remedy="wait for it, or end it"
        ) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise UserError(
            "a token store needs room on the disk",
            got=f"{place.parent}, which is full",
            remedy="make room and repeat the command: what is written so far is kept",
        ) from error
    shutil.rmtree(place, ignore_errors=True)
    return open_store(out)


def common_genes(
    sources: Sequence[H5adBlocks], wanted: NDArray[np.str_] | None
) -> tuple[NDArray[np.str_], list[str]]:
    """Choose the genes of the store, and say for each file what of it is left out.

    Without a list they are those that all files have, in the order of the first.
    """
    keys = [match_keys(source.genes).tolist() for source in sources]
    genes = wanted
    if genes is None:
        shared = set(keys[0]).intersection(*keys[1:])
        genes = sources[0].genes[[key in shared for key in keys[0]]]
        if not shared:
            raise UserError(
                "the files of a store must share genes",
                got=f"none that is in all of {', '.join(s.path.name for s in sources)}",
                remedy="name a column of var with --gene-column that holds the same kind of names",
            )
    if len(genes) > MOST_GENES:
        raise UserError(
            f"a token store has at most {MOST_GENES:,} genes",
            got=f"{len(genes):,}",
            remedy="name those that the model knows with --genes",
        )
    kept = set(match_keys(genes).tolist())
    told = []
    for source, names in zip(sources, keys, strict=True):
        dropped = len(names) - len(kept.intersection(names))
        lacking = len(kept.difference(names))
        if dropped or lacking:
            told.append(
                f"{source.path.name}: {dropped:,} of {len(names):,} genes are dropped, {lacking:,} "
                f"of the store's {len(genes):,} are not in it and count as zero"
            )
    return genes, told


def plan_of(
    sources: Sequence[H5adBlocks], genes: NDArray[np.str_], settings: BuildSettings
) -> dict[str, Any]:
    """Describe all that decides the bytes of a store."""
    columns = settings.columns
    return {
        "format": FORMAT,
        "tokenizer": dict(settings.tokenizer),
        "sources": [source.mark() for source in sources],
        "genes": hashlib.sha256("\n".join(genes.tolist()).encode()).hexdigest(),
        "label": columns.label,
        "batch": columns.batch,
        "split": columns.split,
        "gene_column": columns.genes,
        "library_column": columns.library,
        "layer": settings.layer,
        "scale": settings.scale,
        "shard_cells": settings.shard_cells,
    }


def require_same_plan(out: Path, plan: Mapping[str, Any]) -> None:
    """Refuse a place that holds anything but the store that is to be built."""
    held = read_manifest(out)["plan"] if (out / MANIFEST).exists() else None
    if held == plan:
        return
    raise UserError(
        "a store is never overwritten",
        got=f"{out}, which holds {'another store' if held else 'something else'}"
        + (f" ({differences(held, plan)})" if held else ""),
        remedy="name another place with --out, or remove that one",
    )


def differences(held: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Name what two plans differ in."""
    return "other " + ", ".join(key for key in plan if held.get(key) != plan[key])


class Build:
    """The folder NAME.building while its lock is held."""

    def __init__(
        self,
        place: Path,
        sources: Sequence[H5adBlocks],
        genes: NDArray[np.str_],
        plan: dict[str, Any],
        settings: BuildSettings,
        told: Sequence[str],
    ) -> None:
        self.place, self.store, self.told = place, place / "store", told
        self.sources, self.genes, self.plan, self.settings = sources, genes, plan, settings
        self.cells = sum(source.n_cells for source in sources)

    def run(self) -> None:
        """Write what is not written yet."""
        self.store.mkdir(exist_ok=True)
        files.sweep(self.place)
        files.sweep(self.store)
        self._settle_plan()
        if (self.store / MANIFEST).exists():
            return
        step = self.settings.shard_cells
        starts = list(range(0, self.cells, step))
        open_shards = [(k, a) for k, a in enumerate(starts) if self._done(k) is None]
        left = sum(min(step, self.cells - first) for _, first in open_shards)
        with progress(f"tokens of {self.cells:,} cells", left) as advance:
            for number, first in open_shards:
                self._write_shard(number, first, min(first + step, self.cells), advance)
        shards = [self._done(number) for number in range(len(starts))]
        self._write_rest([shard for shard in shards if shard is not None])

    def _settle_plan(self) -> None:
        path = self.place / "PLAN.json"
        held = json.loads(path.read_text("utf-8")) if path.exists() else None
        if held is not None and held != self.plan:
            raise UserError(
                "an unfinished build goes on with the same files and settings",
                got=f"{differences(held, self.plan)} than in {self.place}",
                remedy="repeat the command that began it, or remove that folder",
            )
        files.write_json(path, self.plan)

    def _done(self, number: int) -> dict[str, Any] | None:
        """Give what is known of a shard that is whole."""
        path = self.place / f"{number:05d}.json"
        if not path.exists():
            return None
        shard: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for name, file in shard["files"].items():
            part = self.store / name
            if not part.exists() or part.stat().st_size != file["bytes"]:
                return None
        return shard

    def _blocks(self, first: int, last: int) -> Iterator[BlockTokens]:
        """Give the tokens of these cells, a block at a time, from whatever files they are in."""
        begin = 0
        for source in self.sources:
            low, high = max(first - begin, 0), min(last - begin, source.n_cells)
            begin += source.n_cells
            if low < high:
                tokens = self.settings.blocks(source.genes, self.genes)
                for cells in source.blocks(low, high, BLOCK_CELLS):
                    yield tokens(cells)

    def _write_shard(
        self, number: int, first: int, last: int, advance: Callable[[int], None]
    ) -> None:
        length_C, digests = np.zeros(last - first, np.int32), BlockDigests()
        written: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            genes, tokens = (
                stack.enter_context(Aside(self.store / f"{number:05d}.{kind}", written))
                for kind in ("genes", "tokens")
            )
            at = 0
            for length_B, gene_N, token_N in self._blocks(first, last):
                length_C[at : at + len(length_B)] = length_B
                at += len(length_B)
                digests.add(length_B, gene_N, token_N)
                genes.write(gene_N.astype("<u2"))
                tokens.write(token_N)
                advance(len(length_B))
        with Aside(self.store / f"{number:05d}.lengths", written) as lengths:
            lengths.write(length_C.astype("<i4"))
        values = int(length_C.sum())
        told = {"values": values, "digests": digests.all(), "files": written}
        files.write_json(self.place / f"{number:05d}.json", told)

    def _write_rest(self, shards: Sequence[dict[str, Any]]) -> None:
        """Write the tables, and the manifest last."""
        names = self._write_tables()
        digests = [line for shard in shards for line in shard["digests"]]
        for name, lines in (("genes.txt", self.genes.tolist()), ("digests.txt", digests)):
            files.write_text(self.store / name, "".join(f"{line}\n" for line in lines))
        held = {name: file for shard in shards for name, file in shard["files"].items()}
        for path in sorted(self.store.iterdir()):
            if path.name not in held:
                held[path.name] = {"bytes": path.stat().st_size, "sha256": digest_of(path)}
        manifest = {
            "format": FORMAT,
            "cells": self.cells,
            "genes": len(self.genes),
            "values": sum(shard["values"] for shard in shards),
            "shards": len(shards),
            "gene_kind": kind_of_genes(self.genes),
            "notes": [*self.told, *(note for source in self.sources for note in source.notes())],
            "names": names,
            "plan": self.plan,
            "files": dict(sorted(held.items())),
        }
        manifest["fingerprint"] = fingerprint_of(manifest)
        files.write_json(self.store / MANIFEST, manifest)

    def _write_tables(self) -> dict[str, list[str]]:
        """Write ids, and the columns that were asked for as numbers; give what the numbers mean."""
        ids_C, _ = unique_ids([name for source in self.sources for name in source.names()])
        write_array(self.store / "ids.npy", np.char.encode(ids_C, "utf-8"))
        columns = self.settings.columns
        names = {}
        for table, wanted in (
            ("labels", columns.label),
            ("batches", columns.batch),
            ("parts", columns.split),
        ):
            if wanted is None:
                continue
            words_C = np.concatenate([source.column(table) for source in self.sources])
            words, code_C = np.unique(words_C, return_inverse=True)
            write_array(self.store / f"{table}.npy", code_C.astype(np.int32))
            names[table] = words.tolist()
        return names


class BlockDigests:
    """Digests of so many cells at a time, whatever the blocks in which they come."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.cells, self.parts = 0, [hashlib.sha256() for _ in range(3)]

    def add(
        self, length_B: NDArray[np.int64], gene_N: NDArray[np.int32], token_N: NDArray[np.uint8]
    ) -> None:
        """Add the tokens of some cells."""
        end_B = np.concatenate([[0], np.cumsum(length_B)])
        at = 0
        while at < len(length_B):
            stop = min(len(length_B), at + BLOCK_CELLS - self.cells)
            some = slice(int(end_B[at]), int(end_B[stop]))
            pieces = (length_B[at:stop].astype("<i4"), gene_N[some].astype("<u2"), token_N[some])
            for part, piece in zip(self.parts, pieces, strict=True):
                part.update(np.ascontiguousarray(piece).view(np.uint8).data)
            self.cells, at = self.cells + stop - at, stop
            if self.cells == BLOCK_CELLS:
                self._close()

    def all(self) -> list[str]:
        """Give the digests, that of the last cells included."""
        if self.cells:
            self._close()
        return self.found

    def _close(self) -> None:
        whole = hashlib.sha256(b"".join(part.digest() for part in self.parts))
        self.found.append(whole.hexdigest())
        self.cells, self.parts = 0, [hashlib.sha256() for _ in range(3)]


class Aside:
    """A file that grows aside and is renamed once it is whole; `written` is told its digest."""

    def __init__(self, path: Path, written: dict[str, Any]) -> None:
        self.path, self.written = path, written
        self.aside = path.with_name(f"{files.TEMPORARY}{path.name}")
        self.digest, self.size = hashlib.sha256(), 0

    def __enter__(self) -> Aside:
        self.file: BinaryIO = open(self.aside, "wb")
        return self

    def write(self, array: NDArray[Any]) -> None:
        """Append an array."""
        content = np.ascontiguousarray(array).view(np.uint8).data
        self.file.write(content)
        self.digest.update(content)
        self.size += len(content)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
                os.replace(self.aside, self.path)
                told = {"bytes": self.size, "sha256": self.digest.hexdigest()}
                self.written[self.path.name] = told
        finally:
            with contextlib.suppress(OSError):
                self.file.close()
            self.aside.unlink(missing_ok=True)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy."""
    files.write_with(path, lambda file: np.lib.format.write_array(file, array, allow_pickle=False))
