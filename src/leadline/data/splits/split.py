"""Protocol and seed → which cells train, select, are reported, or stay unlabelled.

Everything is an index into the cells; equal arguments give equal indices on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leadline.config import ProtocolConfig
from leadline.config.protocol import TEST_FRACTION
from leadline.data.cells import Cells
from leadline.data.splits.draws import Rows, draw_labelled, draw_selection
from leadline.data.splits.folds import fold_part
from leadline.errors import UserError

# Of fewer held-out donors a comparison tells little (`stats.crossed`), of 2 or 3 nothing; where
# there are this many donors, so many are held out unless `protocol.test_fraction` is changed.
ENOUGH_BATCHES, MANY_BATCHES = 6, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows of each part; `val` equals `test` where the protocol selects on the reported cells."""

    train: Rows
    val: Rows
    test: Rows
    unlabelled: Rows
    dropped: Rows
    warnings: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 over the rows of every part, order included."""
        digest = hashlib.sha256()
        for rows in (self.train, self.val, self.test, self.unlabelled, self.dropped):
            digest.update(rows.astype("<i8").tobytes() + b"|")
        return digest.hexdigest()

    def sizes(self) -> dict[str, int]:
        """Count the cells of each part."""
        parts = ("train", "val", "test", "unlabelled", "dropped")
        return {part: len(getattr(self, part)) for part in parts}


def make_split(
    cells: Cells,
    protocol: ProtocolConfig,
    *,
    seed: int,
    fraction: float,
    label: str,
    min_genes: int = 0,
    binned_G: NDArray[np.bool_] | None = None,
) -> Split:
    """Draw the parts that a protocol, a seed and a labelled fraction ask for.

    `label` names the label column in messages; cells that express fewer than `min_genes` genes
    are set aside before anything is drawn. `binned_G` are the genes whose values scGPT's script
    bins, with a random number each, before it holds cells out.
    """
    if cells.labels_C is None:
        raise UserError(
            "a classifier needs labels", got="no label column", remedy="name it with data.label="
        )
    enough, poor = enough_genes(cells, min_genes)
    kept, rare = keep_common(cells, enough, protocol, label)
    pool, given_val, test, told = reported_part(cells, kept, protocol)
    warnings = (
        *told_of(poor, min_genes),
        *told,
        *check_unseen(cells, pool, test, protocol, label),
        *few_batches(cells, kept, test, protocol),
    )
    labelled = draw_labelled(cells.labels_C, pool, protocol.fewshot, fraction, seed)
    binned = 0
    if binned_G is not None:
        binned = int(values_of_cells(cells, binned_G)[np.concatenate([pool, test])].sum())
    train, val = draw_selection(cells.labels_C, labelled, given_val, test, protocol, seed, binned)
    unlabelled = np.setdiff1d(pool, labelled)
    return Split(
        train=train,
        val=val,
        test=test,
        unlabelled=unlabelled,
        dropped=np.union1d(rare, poor),
        warnings=warnings,
    )


def values_of_cells(cells: Cells, genes_G: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the values above zero that each cell has among these genes."""
    matrix_CG = cells.matrix_CG
    before_N = np.concatenate([[0], np.cumsum(genes_G[matrix_CG.indices])])
    return np.diff(before_N[matrix_CG.indptr])


def enough_genes(cells: Cells, least: int) -> tuple[Rows, Rows]:
    """Part the cells that express so many genes from those that do not."""
    poor_C = np.diff(cells.matrix_CG.indptr) < least
    if poor_C.all():
        raise UserError(
            "some cells must express data.min_genes genes",
            got=f"none of {len(cells):,} expresses {least:,}",
            remedy="lower data.min_genes",
        )
    return np.flatnonzero(~poor_C), np.flatnonzero(poor_C)


def told_of(poor: Rows, least: int) -> tuple[str, ...]:
    """Say how many cells were set aside for want of genes."""
    return (f"set aside: {len(poor):,} cells that express fewer than {least:,} genes",) * bool(
        len(poor)
    )


def corpus_split(
    cells: Cells,
    protocol: ProtocolConfig,
    *,
    seed: int,
    fraction: float,
    label: str,
    min_genes: int = 0,
) -> Split:
    """Draw the parts for pretraining: every cell trains that neither selects nor is reported on.

    Labelled cells are parted as for a classifier, so that both report on the same cells. Without
    labels `stratified` means at random.
    """
    if cells.labels_C is not None:
        split = make_split(
            cells, protocol, seed=seed, fraction=fraction, label=label, min_genes=min_genes
        )
        train = np.union1d(split.train, split.unlabelled)
        return replace(split, train=train, unlabelled=split.unlabelled[:0])
    rows, poor = enough_genes(cells, min_genes)
    told: tuple[str, ...] = ()
    if protocol.folds is None and reported_source(cells, protocol) == "stratified":
        pool, given_val, test = random_part(rows, protocol)
    else:
        pool, given_val, test, told = reported_part(cells, rows, protocol)
    alike_C = np.zeros(len(cells), np.int32)
    train, val = draw_selection(alike_C, pool, given_val, test, protocol, seed)
    return Split(
        train=train,
        val=val,
        test=test,
        unlabelled=rows[:0],
        dropped=poor,
        warnings=(*told_of(poor, min_genes), *told),
    )


def random_part(rows: Rows, protocol: ProtocolConfig) -> tuple[Rows, Rows, Rows]:
    """Separate the reported cells at random, as scBERT's pretraining does."""
    n_test = int(np.ceil(protocol.test_fraction * len(rows)))
    if not 0 < n_test < len(rows):
        raise UserError(
            "both sides of the split need at least one cell",
            got=f"{len(rows)} cells, {n_test} of them to be reported on",
            remedy="use more cells, or change protocol.test_fraction",
        )
    from sklearn.model_selection import train_test_split

    pool, test = train_test_split(
        rows, test_size=protocol.test_fraction, random_state=protocol.split_seed
    )
    return pool, rows[:0], test


def keep_common(
    cells: Cells, rows: Rows, protocol: ProtocolConfig, label: str
) -> tuple[Rows, Rows]:
    """Set aside classes with too few cells for a stratified draw, or refuse them."""
    if cells.labels_C is None or reported_source(cells, protocol) != "stratified":
        return rows, rows[:0]
    cells_K = np.bincount(cells.labels_C, minlength=len(cells.classes))
    rare_K = (cells_K > 0) & (cells_K < 2)
    if not rare_K.any():
        return rows, rows[:0]
    names = ", ".join(f"{cells.classes[k]!r}" for k in np.flatnonzero(rare_K)[:5])
    if protocol.rare_classes == "refuse":
        raise UserError(
            f"each class of {label!r} needs at least 2 cells to be split by class",
            got=f"{int(rare_K.sum())} of {int((cells_K > 0).sum())} classes with 1 cell ({names})",
            remedy="leave such classes out with protocol.rare_classes=drop, or merge them into "
            "broader types",
        )
    is_rare = rare_K[cells.labels_C]
    return rows[~is_rare], rows[is_rare]


def reported_source(cells: Cells, protocol: ProtocolConfig) -> str:
    """Say where the reported cells come from: `given`, `stratified` or `group`.

    With folds `auto` holds out whole batches where there are enough of them.
    """
    if protocol.reported == "auto":
        if protocol.folds is not None and cells.given_C is None and cells.batch_C is not None:
            enough = len(np.unique(cells.batch_C)) >= protocol.folds
            return "group" if enough else "stratified"
        return "stratified" if cells.given_C is None else "given"
    return protocol.reported


def reported_part(
    cells: Cells, rows: Rows, protocol: ProtocolConfig
) -> tuple[Rows, Rows, Rows, tuple[str, ...]]:
    """Separate the reported cells from the pool that may be labelled.

    Gives the pool, any selection part that the file gives, the reported cells, and warnings.
    """
    source = reported_source(cells, protocol)
    if protocol.folds is not None:
        pool, test, told = fold_part(cells, rows, protocol, source)
        return pool, rows[:0], test, told
    if source == "given":
        return *given_part(cells, rows), ()
    if source == "group":
        pool, test = group_part(cells, rows, protocol)
        return pool, rows[:0], test, ()
    assert cells.labels_C is not None
    labels = cells.labels_C[rows]
    need = len(np.unique(labels))
    n_test = int(np.ceil(protocol.test_fraction * len(rows)))
    if n_test < need or len(rows) - n_test < need:
        raise UserError(
            "both sides of the split need at least one cell of each class",
            got=f"{len(rows)} cells of {need} classes, {n_test} of them to be reported on",
            remedy="use more cells, merge classes, or change protocol.test_fraction",
        )
    from sklearn.model_selection import train_test_split

    pool, test = train_test_split(
        rows, test_size=protocol.test_fraction, stratify=labels, random_state=protocol.split_seed
    )
    return pool, rows[:0], test, ()


def given_part(cells: Cells, rows: Rows) -> tuple[Rows, Rows, Rows]:
    """Take the parts that the file assigns."""
    if cells.given_C is None:
        raise UserError(
            "protocol.reported=given needs a column that assigns each cell to a part",
            got="no data.split",
            remedy="name the column with data.split=, or use protocol.reported=stratified",
        )
    part = cells.given_C[rows]
    pool, val, test = (rows[part == name] for name in ("train", "validation", "test"))
    for name, chosen in (("train", pool), ("test", test)):
        if not len(chosen):
            raise UserError(
                "the split column must assign cells to both train and test",
                got=f"no {name} cells",
                remedy="correct the column, or leave data.split out to have a split drawn",
            )
    return pool, val, test


def group_part(cells: Cells, rows: Rows, protocol: ProtocolConfig) -> tuple[Rows, Rows]:
    """Hold out whole batches, drawn at random until they hold enough cells.

    With the usual `test_fraction`, 6 batches at least where there are 8; another one is kept to.
    """
    if cells.batch_C is None:
        raise UserError(
            "protocol.reported=group needs batches",
            got="none",
            remedy="name their column with data.batch=",
        )
    names, cells_B = np.unique(cells.batch_C[rows], return_counts=True)
    if len(names) < 2:
        raise UserError(
            "holding out whole batches needs at least 2",
            got=f"{len(names)}",
            remedy="use protocol.reported=stratified",
        )
    order = np.random.default_rng(protocol.split_seed).permutation(len(names))
    enough = np.cumsum(cells_B[order]) >= protocol.test_fraction * len(rows)
    n_held = min(int(np.argmax(enough)) + 1, len(names) - 1)
    if len(names) >= MANY_BATCHES and protocol.test_fraction == TEST_FRACTION:
        n_held = max(n_held, ENOUGH_BATCHES)
    held = np.isin(cells.batch_C[rows], names[order[:n_held]])
    return rows[~held], rows[held]


def few_batches(cells: Cells, rows: Rows, test: Rows, protocol: ProtocolConfig) -> tuple[str, ...]:
    """Warn where so few whole batches are held out that they tell little of fresh ones."""
    if reported_source(cells, protocol) != "group":
        return ()
    assert cells.batch_C is not None
    held, all_there = (len(np.unique(cells.batch_C[part])) for part in (test, rows))
    if held >= ENOUGH_BATCHES:
        return ()
    return (
        f"{held} of {all_there} batches are held out: of fresh batches 1, 2 or 3 decide "
        f"nothing, 4 or 5 little; hold out {ENOUGH_BATCHES}, where there are more, with a larger "
        "protocol.test_fraction",
    )


def check_unseen(
    cells: Cells, pool: Rows, test: Rows, protocol: ProtocolConfig, label: str
) -> tuple[str, ...]:
    """Refuse, or warn of, reported classes that no model can learn from the pool."""
    assert cells.labels_C is not None
    unseen = np.setdiff1d(cells.labels_C[test], cells.labels_C[pool])
    if not len(unseen):
        return ()
    names = ", ".join(repr(cells.classes[k]) for k in unseen[:5])
    n_cells = int(np.isin(cells.labels_C[test], unseen).sum())
    found = f"{len(unseen)} of {label!r} ({names}; {n_cells:,} reported cells)"
    if protocol.unseen_classes == "refuse":
        raise UserError(
            "every reported class must have training cells",
            got=f"classes without any: {found}",
            remedy="count them as errors with protocol.unseen_classes=keep, as the paper does, or "
            f"{'part cells by class with protocol.reported=stratified, or ' * bool(protocol.folds)}"
            "take these cells out of the file",
        )
    return (f"classes without training cells count as errors: {found}",)
