"""Which genes a perturbation hits: symbols, folds in which no gene is on both sides, vectors.

P perturbations, C cells, D components of the vectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leadline.errors import UserError

Array = NDArray[np.float64]
Canonical = Mapping[str, str] | Callable[[str], str] | None

CONTROL = "control"
# Old symbols of the Norman screen that current vocabularies know under another name.
OLD_SYMBOLS = {"C19orf26": "CBARP", "KIAA1804": "MAP3K21", "C3orf72": "FOXL2NB"}


# What screens add to a gene's symbol to tell its guides apart: MYC_sg1, MYC-guide-2.
# A large G begins symbols, as in G0S2.
GUIDE = re.compile(r"[_.-](?:(?i:sg|sgrna|grna|guide)|g)[_.-]?\d+$")
# What screens call cells without a knock-out, without letters of case, spaces, - and _.
CONTROLS = (
    *("control", "ctrl", "nontargeting", "nt", "negctrl", "negativecontrol", "unperturbed"),
    *("scrambled", "neg", "safe", "safetargeting"),
)


def control_of(words: Iterable[str]) -> str:
    """Find the value that names control cells, if exactly one looks like it."""
    names = sorted(set(words))
    found = [name for name in names if re.sub(r"[\s_-]", "", name).lower() in CONTROLS]
    if len(found) != 1:
        raise UserError(
            "One value of data.label names control cells",
            got=f"{', '.join(found) if found else 'none that looks like it'} among "
            f"{len(names):,} values ({shorten(names)})",
            remedy="name it with task_settings.control=",
        )
    return found[0]


def gene_of_guide(name: str) -> str:
    """Return the current symbol of the gene that a guide targets."""
    return canonical_symbol(GUIDE.sub("", name))


def canonical_symbol(name: str, canonical: Canonical = None) -> str:
    """Return the current symbol of a gene: a mapping or a function, else the old ones we know."""
    table = OLD_SYMBOLS if canonical is None else canonical
    return table(name) if callable(table) else table.get(name, name)


def targets(perturbation: str, *, separator: str = "+", control: str = CONTROL) -> tuple[str, ...]:
    """Return the genes of a perturbation, sorted; a control half of a pair is no gene.

    Examples
    --------
    >>> targets("KLF1+ctrl", control="ctrl"), targets("FOXA3+CBL")
    (('KLF1',), ('CBL', 'FOXA3'))
    """
    parts = (part.strip() for part in perturbation.split(separator))
    return tuple(sorted({part for part in parts if part and part != control}))


def merge_names(
    perturbation_C: ArrayLike,
    *,
    canonical: Canonical = None,
    separator: str = "+",
    control: str = CONTROL,
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Give every cell the canonical name of its perturbation, and say which names were one gene.

    A+B and B+A, a gene under an old symbol and under the current one, become one perturbation:
    otherwise the same knock-out could be in training and in the test set.
    """
    names, code_C = np.unique(np.asarray(perturbation_C).astype(str), return_inverse=True)
    merged, found = [], dict[str, list[str]]()
    for name in names:
        genes = targets(str(name), separator=separator, control=control)
        current = separator.join(sorted(canonical_symbol(gene, canonical) for gene in genes))
        merged.append(current or control)
        found.setdefault(merged[-1], []).append(str(name))
    messages = tuple(
        f"{current}: {', '.join(old)} are one perturbation"
        if len(old) > 1
        else f"{old[0]} is {current} in current vocabularies"
        for current, old in found.items()
        if current != control
        and (len(old) > 1 or set(old[0].split(separator)) != set(current.split(separator)))
    )
    return np.array(merged)[code_C], messages


def folds_by_gene(
    perturbations: Sequence[str],
    *,
    folds: int = 5,
    seed: int,
    canonical: Canonical = None,
    separator: str = "+",
    control: str = CONTROL,
) -> NDArray[np.int64]:
    """Give every perturbation its fold; all guides and names of one gene share it.

    Genes are sorted by canonical symbol before they are shuffled, so folds depend on the seed and
    the set of genes, not on the order of the rows. Combinations get folds of their own: one in
    the test set may have two, one or none of its genes in training, see `genes_seen`.
    """
    keys = [_key(name, canonical, separator, control) for name in perturbations]
    unique = sorted(set(keys), key=lambda key: (len(key), key))
    singles = sum(len(key) < 2 for key in unique)
    if singles and singles < folds:
        raise UserError(
            "There are at least as many perturbed genes as folds",
            got=f"{singles} genes for {folds} folds",
            remedy=f"use at most {singles} folds",
        )
    generator = np.random.default_rng(seed)
    fold_of: dict[tuple[str, ...], int] = {}
    for part in (unique[:singles], unique[singles:]):
        for place, at in enumerate(generator.permutation(len(part))):
            fold_of[part[at]] = place % folds
    return np.array([fold_of[key] for key in keys], dtype=np.int64)


def genes_seen(
    perturbations: Sequence[str],
    fold_P: ArrayLike,
    *,
    canonical: Canonical = None,
    separator: str = "+",
    control: str = CONTROL,
) -> NDArray[np.int64]:
    """Count, for each perturbation, its genes that were knocked out alone in its training folds."""
    keys = [_key(name, canonical, separator, control) for name in perturbations]
    fold = np.asarray(fold_P).tolist()
    alone = {key[0]: at for key, at in zip(keys, fold, strict=True) if len(key) == 1}
    return np.array(
        [
            sum(gene in alone and alone[gene] != held for gene in key)
            for key, held in zip(keys, fold, strict=True)
        ],
        dtype=np.int64,
    )


def vector_rows(
    perturbations: Sequence[str],
    vectors: Mapping[str, Array],
    *,
    canonical: Canonical = None,
    separator: str = "+",
    control: str = CONTROL,
) -> tuple[Array, tuple[str, ...]]:
    """Look up a vector for each perturbation, the sum over its genes; a row of nan if one lacks.

    The name is tried as it stands, then under its current symbol. Messages give the coverage and
    the genes that were found under a new name or not at all.
    """
    if not vectors:
        raise UserError("There are vectors", got="none", remedy="give a vector for each gene")
    width = len(next(iter(vectors.values())))
    rows_PD = np.full((len(perturbations), width), np.nan)
    renamed, missing = set[str](), set[str]()
    for row, name in zip(rows_PD, perturbations, strict=True):
        parts = []
        for gene in targets(name, separator=separator, control=control):
            current = gene if gene in vectors else canonical_symbol(gene, canonical)
            if current not in vectors:
                missing.add(gene)
                continue
            parts.append(np.asarray(vectors[current], dtype=float))
            renamed.update([f"{gene} as {current}"] if current != gene else [])
        if parts and len(parts) == len(targets(name, separator=separator, control=control)):
            row[:] = np.sum(parts, axis=0)
    found = int(np.isfinite(rows_PD).all(axis=1).sum())
    messages = [f"{found} of {len(perturbations)} perturbations have a vector"]
    if renamed:
        messages.append(f"found under a current symbol: {', '.join(sorted(renamed))}")
    if missing:
        messages.append(f"no vector: {shorten(sorted(missing))}; predicted by the training mean")
    return rows_PD, tuple(messages)


def _key(name: str, canonical: Canonical, separator: str, control: str) -> tuple[str, ...]:
    genes = targets(name, separator=separator, control=control)
    return tuple(sorted({canonical_symbol(gene, canonical) for gene in genes}))


def shorten(names: Iterable[str], most: int = 5) -> str:
    """Join a few names and count the others."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
