"""A token store: a folder of sparse tokens that is mapped, never read whole.

    STORE.json            what there is, its digests, and what it was made of
    genes.txt             the genes, in order
    ids.npy labels.npy batches.npy parts.npy      one row a cell; the last three if asked for
    digests.txt           digests of cells, so many at a time, however shards are cut
    00000.genes 00000.tokens 00000.lengths        a shard: uint16, uint8, and values of each cell

Two bytes say which gene and one says which token, for each value that is not zero. Sizes are
verified whenever a store is opened, digests by `check`. `token_store_build` writes it.

Legend: C cells.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells import Cells, Scale
from leadline.data.cells.stored_rows import Shard, StoredRows
from leadline.errors import UserError
from leadline.progress import progress

FORMAT = 1
MANIFEST = "STORE.json"
BUILDING = ".building"
# The scale of cells by the tokenizer that made them.
SCALES = {"scbert": Scale.SCBERT_BINS, "scgpt": Scale.SCGPT_BINS}
READ_AT_A_TIME = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStore:
    """An opened store; `manifest` is its STORE.json."""

    folder: Path
    manifest: Mapping[str, Any]
    genes: NDArray[np.str_]
    rows: StoredRows

    def cells(
        self,
        name: str,
        *,
        label: str | None = None,
        batch: str | None = None,
        split: str | None = None,
    ) -> Cells:
        """Give the cells, whose matrix stays on disk; columns must be those of the build.

        Raises
        ------
        UserError
            When another column is named than the store was built with.
        """
        wanted = {"label": label, "batch": batch, "split": split}
        for what, column in wanted.items():
            held = self.manifest["plan"][what]
            if column is not None and column != held:
                raise UserError(
                    f"data.{what} must be the column that the store was built with",
                    got=f"{column}, where {self.folder} holds {held or 'none'}",
                    remedy=f"leave data.{what} out, name that one, or build a store with "
                    f"--{what} {column}",
                )
        names = self.manifest["names"]
        return Cells(
            name=name,
            matrix_CG=self.rows,
            scale=SCALES[self.manifest["plan"]["tokenizer"]["name"]],
            library_C=np.full(self.rows.shape[0], np.nan),
            genes=self.genes,
            ids=np.char.decode(self._table("ids"), "utf-8"),
            labels_C=None if label is None else self._table("labels"),
            classes=() if label is None else tuple(names["labels"]),
            batch_C=None if batch is None else np.array(names["batches"])[self._table("batches")],
            given_C=None if split is None else np.array(names["parts"])[self._table("parts")],
            gene_kind=self.manifest["gene_kind"],
            how="made by leadline store build",
            layer="the store",
            notes=tuple(self.manifest["notes"]),
        )

    def _table(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = np.load(self.folder / f"{name}.npy", allow_pickle=False)
        return found


def open_store(folder: Path) -> TokenStore:
    """Open a store and verify the size of every file.

    Raises
    ------
    UserError
        When there is none, when it has another format, or when a file is missing or cut off.
    """
    manifest = read_manifest(folder)
    for name, file in manifest["files"].items():
        path = folder / name
        size = path.stat().st_size if path.exists() else None
        if size != file["bytes"]:
            raise damaged(
                folder,
                f"{name} is missing"
                if size is None
                else f"{name} has {size:,} of {file['bytes']:,} bytes",
            )
    genes = np.array((folder / "genes.txt").read_text("utf-8").split("\n")[:-1], dtype=np.str_)
    rows = StoredRows(
        [shard_of(folder, number) for number in range(manifest["shards"])],
        len(genes),
        tokenizer=manifest["plan"]["tokenizer"],
        content=content_of(manifest),
    )
    if rows.shape[0] != manifest["cells"]:
        raise damaged(folder, f"{rows.shape[0]:,} of {manifest['cells']:,} cells")
    return TokenStore(folder=folder, manifest=manifest, genes=genes, rows=rows)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read STORE.json, or say why this is no store that can be used."""
    rule = "a token store is a folder with STORE.json"
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        found = manifest["format"]
    except (FileNotFoundError, NotADirectoryError):
        aside = folder.with_name(folder.name + BUILDING)
        unfinished = aside.exists()
        raise UserError(
            rule,
            got=f"{folder}, whose build is not finished" if unfinished else f"{folder} without it",
            remedy="repeat the leadline store build that began it: it goes on"
            if unfinished
            else f"write one with leadline store build cells.h5ad --out {folder}",
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, f"a {MANIFEST} that cannot be read") from error
    if found != FORMAT:
        raise UserError(
            f"a token store must have format {FORMAT}",
            got=f"format {found} in {folder}",
            remedy="build it again with this leadline: another version wrote it",
        )
    return dict(manifest)


def damaged(folder: Path, what: str) -> UserError:
    """Refuse a store that is not whole."""
    return UserError(
        "a token store must be whole",
        got=f"{folder}: {what}",
        remedy="copy it again and run leadline store check, or remove it and build it again",
    )


def shard_of(folder: Path, number: int) -> Shard:
    """Map one shard."""
    length_C = np.fromfile(folder / f"{number:05d}.lengths", "<i4").astype(np.int64)
    return Shard(
        start=np.concatenate([np.zeros(1, np.int64), np.cumsum(length_C)]),
        gene_N=mapped(folder / f"{number:05d}.genes", "<u2"),
        token_N=mapped(folder / f"{number:05d}.tokens", "u1"),
    )


def mapped(path: Path, dtype: str) -> NDArray[Any]:
    """Map a file of plain numbers.

    The system may map more than is asked for: to forbid it (MADV_RANDOM) made rows of a store that
    fits into memory four times as slow.
    """
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    with open(path, "rb") as file:
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(held, dtype)


def check(folder: Path) -> TokenStore:
    """Open a store and compare every file with its digest.

    Raises
    ------
    UserError
        Naming the files that are not what was written.
    """
    store = open_store(folder)
    listed = store.manifest["files"]
    wrong = []
    with progress("checking megabytes", sum(file["bytes"] for file in listed.values()) >> 20) as on:
        for name, file in listed.items():
            if digest_of(folder / name) != file["sha256"]:
                wrong.append(name)
            on(file["bytes"] >> 20)
    if fingerprint_of(store.manifest) != store.manifest["fingerprint"]:
        wrong.append(MANIFEST)
    if wrong:
        raise damaged(folder, f"{', '.join(wrong)} differ from what was written")
    return store


def digest_of(path: Path) -> str:
    """Give a file's SHA-256."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(READ_AT_A_TIME):
            found.update(piece)
    return found.hexdigest()


def content_of(manifest: Mapping[str, Any]) -> str:
    """Give the SHA-256 of the tokens alone, however they are cut into shards."""
    parts = [manifest["plan"]["tokenizer"], manifest["files"]["digests.txt"]["sha256"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint_of(manifest: Mapping[str, Any]) -> str:
    """Give the SHA-256 of all that a store holds; paths, dates and shards are not in it."""
    files = manifest["files"].items()
    digests = {name: file["sha256"] for name, file in files if not name[0].isdigit()}
    parts = [manifest["plan"]["tokenizer"], manifest["names"], digests]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
