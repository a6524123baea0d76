"""What the files of the paper look like, where they come from, and how to tell a wrong one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Cells
from leadline.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFile:
    """One file: its names, and what must be true of its contents.

    `git_blob` is the SHA-1 that `git hash-object` gives for the file as distributed.
    """

    name: str
    cells: int
    genes: int
    classes: int | None = None
    packed: str | None = None
    git_blob: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSet:
    """One dataset: its files (training first) and where users get them.

    `genes_as` names the dataset whose genes, in whose order, it must have. `named_by_place` says
    that the paper's scripts name the genes of the test file by the training file (D61).
    """

    title: str
    files: tuple[PaperFile, ...]
    sources: tuple[str, ...]
    held_out: str
    genes_as: str | None = None
    reported_sizes: tuple[int, ...] = ()
    named_by_place: bool = False


_SCGPT_COPY = (
    "an archived copy of all three sets is on figshare, article 24954519 (file 43939560), "
    "folder scGPT_processed_datasets/Fig2_Annotation"
)

PAPER_SETS = {
    "zheng68k": PaperSet(
        title="PBMC of Zheng et al. 2017, as scBERT prepared it",
        files=(
            PaperFile(
                name="Zheng68K.h5ad",
                cells=68_450,
                genes=16_906,
                classes=11,
                packed="Zheng68K.h5ad.gz",
                git_blob="4bfd6a9e98c94c4b5063fbe2f52d73cf21e739e2",
            ),
        ),
        sources=(
            "data/Zheng68K.h5ad.gz in the GitHub repository clinicalml/sc-foundation-eval; unpack "
            "with gunzip",
        ),
        held_out="20 % of each class, seed 2022: 54,760 cells train, 13,690 are reported on",
        genes_as="panglao",
        # Printed in the authors' notebook, in the order of the sorted class names.
        reported_sizes=(570, 1175, 48, 20, 1237, 374, 612, 1755, 4151, 3329, 419),
    ),
    "panglao": PaperSet(
        title="PanglaoDB human, the pretraining corpus",
        files=(PaperFile(name="panglao_human.h5ad", cells=1_357_593, genes=16_906),),
        sources=("Google Drive file 1fNZbKx6LPeoS0hbVYJFI8jlDlNctZxlU, linked in scBERT's README",),
        held_out="5 % at random, seed 2021: 67,880 cells",
    ),
    "ms": PaperSet(
        title="multiple sclerosis",
        files=(
            PaperFile(name="c_data.h5ad", cells=7_844, genes=3_000),
            PaperFile(name="filtered_ms_adata.h5ad", cells=13_468, genes=3_000),
        ),
        sources=("Google Drive folder 1Qd42YNabzyr2pWt9xoY4cVMTAxsNBt4v", _SCGPT_COPY),
        held_out="nine healthy donors train, twelve patients are reported on",
        named_by_place=True,
    ),
    "pancreas": PaperSet(
        title="human pancreas",
        files=(
            PaperFile(name="demo_train.h5ad", cells=10_600, genes=3_000, classes=13),
            PaperFile(name="demo_test.h5ad", cells=4_218, genes=3_000, classes=11),
        ),
        sources=("Google Drive folder 1s9XjcSiPC-FYV3VeHrEa7SeZetrthQVV", _SCGPT_COPY),
        held_out="two studies train, three are reported on",
    ),
    "myeloid": PaperSet(
        title="tumour-infiltrating myeloid cells",
        files=(
            PaperFile(name="reference_adata.h5ad", cells=9_748, genes=3_000),
            PaperFile(name="query_adata.h5ad", cells=3_430, genes=3_000, classes=11),
        ),
        sources=("Google Drive folder 1VbpApQufZq8efFGakW3y8QDDpY9MBoDS", _SCGPT_COPY),
        held_out="six cancer types train, three are reported on",
    ),
}


def folder_of(name: str, path: str | None, data_dir: Path) -> Path:
    """Give the folder in which the files of a dataset are looked for."""
    return Path(path).expanduser() if path else data_dir.expanduser() / name


def locate(name: str, path: str | None, data_dir: Path) -> list[Path]:
    """Find the files of a dataset, or say where users get them."""
    folder = folder_of(name, path, data_dir)
    files = [folder / file.name for file in PAPER_SETS[name].files]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"data={name} needs {', '.join(file.name for file in files)} in {folder}",
            got=f"no {', '.join(missing)}",
            remedy=f"`leadline doctor {name}` says where to get it; data.path= names a folder",
        )
    return files


def differences(
    file: PaperFile, *, cells: int, genes: int, classes: int | None = None
) -> list[str]:
    """Say in which ways the sizes found are not those of the paper's file."""
    found = []
    if cells != file.cells:
        found.append(f"{cells:,} cells instead of {file.cells:,}")
    if genes != file.genes:
        found.append(f"{genes:,} genes instead of {file.genes:,}")
    if classes is not None and file.classes is not None and classes != file.classes:
        found.append(f"{classes} classes instead of {file.classes}")
    return found


def check(cells: Cells, file: PaperFile) -> None:
    """Refuse a file that carries the paper's name but other contents."""
    found = differences(file, cells=len(cells), genes=len(cells.genes), classes=len(cells.classes))
    if found:
        raise UserError(
            f"{file.name} must be the paper's file",
            got=", ".join(found),
            remedy="fetch it again, or run your own version under its own name with data=h5ad "
            "data.path=",
        )


def git_blob(path: Path) -> str:
    """Give the SHA-1 under which git would store a file."""
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(f"blob {path.stat().st_size}\0".encode())
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def join(train: Cells, test: Cells, *, test_genes: str = "own") -> Cells:
    """Stack two files on the genes that both have, in the order of the first.

    The classes are the union of both (D04); ids tell the files apart. With `test_genes` of
    `training` the test file's genes are named, place by place, by the training file (D61).
    """
    if test_genes == "training":
        test = named_by(train, test)
    check_alike(train, test)
    shared = np.isin(train.genes, test.genes)
    genes = train.genes[shared]
    place = {gene: column for column, gene in enumerate(test.genes.tolist())}
    columns = np.array([place[gene] for gene in genes.tolist()])
    matrix_CG = sparse.csr_array(
        sparse.vstack([train.matrix_CG[:, np.flatnonzero(shared)], test.matrix_CG[:, columns]])
    )
    matrix_CG.sort_indices()
    labels_C, classes = joined_labels(train, test)
    both_batches = train.batch_C is not None and test.batch_C is not None
    parts = (("train", train), ("test", test))
    return Cells(
        name=train.name,
        matrix_CG=matrix_CG,
        scale=train.scale,
        library_C=np.concatenate([train.library_C, test.library_C]),
        genes=genes,
        ids=np.concatenate([[f"{part}:{i}" for i in cells.ids] for part, cells in parts]),
        labels_C=labels_C,
        classes=classes,
        batch_C=np.concatenate([train.batch_C, test.batch_C]) if both_batches else None,
        given_C=np.repeat(["train", "test"], [len(train), len(test)]),
        notes=(
            *train.notes,
            f"{len(genes):,} genes are in both files; left out: {len(train.genes) - len(genes):,} "
            f"only in the training file, {len(test.genes) - len(genes):,} only in the test file",
        ),
    )


def named_by(train: Cells, test: Cells) -> Cells:
    """Give the genes of one file to the columns of the other, whatever they are called there."""
    if len(train.genes) != len(test.genes):
        raise UserError(
            "data.test_genes=training names genes by their place and needs as many in both files",
            got=f"{len(train.genes):,} and {len(test.genes):,}",
            remedy="leave data.test_genes out",
        )
    return replace(test, genes=train.genes)


def check_alike(train: Cells, test: Cells) -> None:
    """Refuse files that hold other genes or other numbers than one another."""
    if not np.isin(train.genes, test.genes).any():
        raise UserError(
            "training and test file must share genes",
            got=f"none in common, for example {train.genes[0]} against {test.genes[0]}",
            remedy="use the same kind of gene name in both; data.gene_column= picks a column",
        )
    if train.scale is not test.scale:
        raise UserError(
            "training and test file must hold the same kind of numbers",
            got=f"{train.scale} and {test.scale}",
            remedy="say what they hold with data.scale=, or name a layer with data.layer=",
        )


def joined_labels(train: Cells, test: Cells) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Give the labels of both files as indices into the union of their classes."""
    classes = tuple(sorted({*train.classes, *test.classes}))
    labels = []
    for part in (train, test):
        assert part.labels_C is not None
        place_K = np.searchsorted(classes, part.classes)
        labels.append(place_K[part.labels_C].astype(np.int32))
    return np.concatenate(labels), classes
