"""scGPT's vocabulary: which gene has which number, and how much of a dataset it covers.

Legend: G genes of the cells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import ScgptConfig
from leadline.data.cells import Cells
from leadline.data.cells.genes import match_keys
from leadline.data.cells.stored_rows import StoredRows
from leadline.errors import UserError

PAD, CLS, END = "<pad>", "<cls>", "<eoc>"
SPECIAL = (PAD, CLS, END)
FILE = "vocab.json"
NAMES_SHOWN = 3
# Not offered as a remedy unless it finds so many times as many genes.
WORTH_TELLING = 1.5


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names in the order of their numbers."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def numbers(self, genes: Sequence[str]) -> NDArray[np.int64]:
        """Give the number of each gene, -1 for those that are not there."""
        number = {name: place for place, name in enumerate(self.names)}
        return np.array([number.get(gene, -1) for gene in genes], dtype=np.int64)

    def number(self, name: str) -> int:
        """Give the number of a token that must be there."""
        return self.names.index(name)

    def fingerprint(self) -> str:
        """Digest names and their order."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]


def of_cells(cells: Cells) -> Vocabulary:
    """Take a dataset's own genes, in the order of their names, so that files may differ in it."""
    return Vocabulary((*sorted(match_keys(cells.genes).tolist()), *SPECIAL))


def chosen(config: ScgptConfig, cells: Cells) -> Vocabulary:
    """Take the vocabulary that `model.vocabulary` names."""
    if config.vocabulary == "data":
        return of_cells(cells)
    released = config.vocabulary == "released"
    path = Path(config.folder) / FILE if released else Path(config.vocabulary)
    return of_file(path.expanduser())


def of_file(path: Path) -> Vocabulary:
    """Read a `vocab.json`: name to number, every number from 0 on once."""
    rule = "a vocabulary must be a JSON object that gives every gene a number, 0, 1, 2, …"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            "the vocabulary's file must exist",
            got=repr(str(path)),
            remedy="fetch the released folder (`leadline doctor scgpt` says from where), or use "
            "model.vocabulary=data",
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(rule, got=f"{path.name}: {error}", remedy="fetch it again") from error
    if not isinstance(held, dict) or not held:
        raise UserError(rule, got=f"a {type(held).__name__}", remedy="name scGPT's vocab.json")
    numbers = list(held.values())
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if not whole or sorted(numbers) != list(range(len(numbers))):
        raise UserError(
            rule,
            got=f"{len(numbers):,} names whose numbers are not 0 to {len(numbers) - 1:,}",
            remedy="fetch it again",
        )
    return with_special(Vocabulary(tuple(sorted(held, key=held.__getitem__))))


def with_special(vocabulary: Vocabulary) -> Vocabulary:
    """Append the special tokens that are not there, as the original does."""
    there = set(vocabulary.names)
    return Vocabulary((*vocabulary.names, *(name for name in SPECIAL if name not in there)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a dataset a vocabulary knows.

    Attributes
    ----------
    number_G
        Number of each gene of the cells, -1 for unknown ones.
    expressed
        Part of the non-zero entries that belong to known genes.
    """

    number_G: NDArray[np.int64]
    expressed: float
    vocabulary: int

    def facts(self) -> dict[str, Any]:
        """Give it as the record keeps it."""
        known = int((self.number_G >= 0).sum())
        return {
            "size": self.vocabulary,
            "genes": len(self.number_G),
            "genes_known": known,
            "share_of_genes": known / max(len(self.number_G), 1),
            "share_of_expressed": self.expressed,
        }


def cover(vocabulary: Vocabulary, cells: Cells) -> Coverage:
    """Look the genes of cells up."""
    number_G = vocabulary.numbers(match_keys(cells.genes).tolist())
    matrix_CG = cells.matrix_CG
    if isinstance(matrix_CG, StoredRows):
        entries_G = matrix_CG.gene_counts()
    else:
        entries_G = np.bincount(matrix_CG.indices, minlength=len(number_G))
    total = int(entries_G.sum())
    return Coverage(
        number_G=number_G,
        expressed=float(entries_G[number_G >= 0].sum() / total) if total else 0.0,
        vocabulary=len(vocabulary),
    )


def require_coverage(
    coverage: Coverage, vocabulary: Vocabulary, cells: Cells, least: float
) -> None:
    """Refuse cells most of whose genes the vocabulary does not know, and say what would help."""
    known = int((coverage.number_G >= 0).sum())
    share = known / max(len(coverage.number_G), 1)
    if min(share, coverage.expressed) >= least and coverage.expressed > 0:
        return
    unknown = match_keys(cells.genes)[coverage.number_G < 0][:NAMES_SHOWN].tolist()
    raise UserError(
        f"the vocabulary must know {least:.0%} of the genes and of what is expressed "
        "(model.min_coverage)",
        got=f"{known:,} of {len(coverage.number_G):,} genes, {coverage.expressed:.0%} of the "
        f"expressed entries; unknown are {', '.join(unknown)}, …",
        remedy=remedy(vocabulary, cells, known),
    )


def remedy(vocabulary: Vocabulary, cells: Cells, known: int) -> str:
    """Say what would make more genes known."""
    genes = match_keys(cells.genes).tolist()
    if cells.gene_kind == "ensembl" and not any(n.startswith("ENS") for n in vocabulary.names[:99]):
        return (
            "these are Ensembl ids and the vocabulary has symbols: name a column of var that holds "
            "symbols with data.gene_column="
        )
    for how, changed in cases(genes).items():
        found = int((vocabulary.numbers(changed) >= 0).sum())
        if found > WORTH_TELLING * max(known, 1):
            return (
                f"{found:,} would be known in {how} case: rename the genes, if they are of the "
                "same species"
            )
    return (
        "look at species and naming; or take the dataset's own genes with model.vocabulary=data "
        "and model.pretrained=false, or lower the limit"
    )


def cases(genes: Sequence[str]) -> dict[str, list[str]]:
    """Write genes in other ways."""
    return {
        "upper": [gene.upper() for gene in genes],
        "lower": [gene.lower() for gene in genes],
        "title": [gene.capitalize() for gene in genes],
    }
