"""A paper as a folder: paper.yaml, numbers.csv, claims.yaml, tables.yaml. No paper needs code.

numbers.csv has one number a row in the columns of our own results (data set, model, arm, fraction,
seed, split, metric, value); aggregates.csv, where there is one, printed means with their intervals.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.errors import UserError, nearest
from leadline.papers.claims.schema import (
    Claim,
    ClaimsFile,
    DiscrepanciesFile,
    Discrepancy,
    parse,
)
from leadline.papers.drafts.claims_file import approved_claims
from leadline.papers.drafts.vocabulary import read_yaml_file
from leadline.report.frame import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from leadline.report.compare.evidence import Evidence

SHIPPED = ("boiarsky", "kedzierska", "perturbation")
FILES = ("paper.yaml", "numbers.csv", "claims.yaml", "tables.yaml")
REQUIRED = ("dataset", "model", "arm", "metric", "value")
# What stands for half the last digit of a number; of unknown precision, it judges nothing.
WORDS = ("full", "unknown")
DEFAULTS = {"fraction": "1", "split": "test", "precision": "full"}
# What aggregates.csv has beside the columns of numbers.csv.
PRINTED_NUMBERS = (
    "mean", "ci95", "p_value", "recomputed_mean", "recomputed_ci95_popsd",
    "recomputed_ci95_samplesd", "recomputed_p",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFacts:
    """What a paper is, under which licence its numbers are here, and where they come from."""

    what: str
    licence: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTable:
    """Numbers of a paper to be set beside ours; `reason` is why they may differ by design."""

    name: str
    title: str
    datasets: list[str]
    arms: list[str]
    metrics: list[str]
    artefact: str = ""
    fractions: list[float] = field(default_factory=lambda: [1.0])
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTables:
    """All of tables.yaml."""

    tables: list[ComparedTable]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPack:
    """A paper that was read: `waiting` counts claims that nobody has approved."""

    name: str
    folder: Path
    facts: PaperFacts
    claims: ClaimsFile
    tables: list[ComparedTable]
    discrepancies: tuple[Discrepancy, ...]
    waiting: int

    def evidence(self) -> Evidence:
        """Give the published numbers, ready to be asked for."""
        from leadline.report.compare.evidence import Evidence

        printed = self.folder / "aggregates.csv"
        tables = _frame(printed, PRINTED_NUMBERS) if printed.is_file() else None
        runs = _frame(self.folder / "numbers.csv", ())
        return Evidence.of(runs, runs.iloc[:0] if tables is None else tables)


def find_pack(name: str) -> Path:
    """Give the folder of a paper: one of those shipped by its name, or any folder by its path."""
    folder = Path(name).expanduser()
    if name in SHIPPED:
        folder = Path(str(files("leadline.papers").joinpath(name)))
    elif not folder.is_dir():
        raise UserError(
            "--paper must be a paper that leadline brings along, or a folder",
            got=repr(name),
            remedy=nearest(name, SHIPPED),
        )
    missing = [each for each in FILES if not (folder / each).is_file()]
    if missing:
        raise UserError(
            f"the folder of a paper must have {', '.join(FILES)}",
            got=f"no {', '.join(missing)} in {folder}",
            remedy="see docs/claims.md",
        )
    return folder


def read_pack(name: str) -> ClaimPack:
    """Read and check a paper; only claims that a person has approved are in it."""
    folder = find_pack(name)
    given = read_yaml_file(folder / "claims.yaml", "claims.yaml")
    if not isinstance(given, dict) or not isinstance(given.get("claims"), list):
        raise UserError(
            "claims.yaml must have a list of claims", got=str(folder), remedy="see docs/claims.md"
        )
    place = f"{folder.name}/claims.yaml"
    approved = approved_claims(given["claims"], place)
    # What `leadline claims draft` says beside the claims needs no deleting.
    plain = {key: value for key, value in given.items() if key not in ("paper", "consistency")}
    content = {"setting": {}, "families": {}, **plain, "claims": approved}
    claims = parse(ClaimsFile, content, place)
    _require_distinct(claims.claims, place)
    tables = parse(
        ComparedTables,
        read_yaml_file(folder / "tables.yaml", "tables.yaml"),
        f"{folder.name}/tables.yaml",
    )
    return ClaimPack(
        name=folder.name,
        folder=folder,
        facts=parse(
            PaperFacts,
            read_yaml_file(folder / "paper.yaml", "paper.yaml"),
            f"{folder.name}/paper.yaml",
        ),
        claims=claims,
        tables=tables.tables,
        discrepancies=_discrepancies(folder),
        waiting=len(given["claims"]) - len(approved),
    )


def _discrepancies(folder: Path) -> tuple[Discrepancy, ...]:
    """Read where prose, code and numbers of the paper disagree, if the folder says so."""
    path = folder / "discrepancies.yaml"
    if not path.is_file():
        return ()
    given = read_yaml_file(path, "discrepancies.yaml")
    found = parse(DiscrepanciesFile, given, f"{folder.name}/discrepancies.yaml")
    return tuple(found.discrepancies)


def _require_distinct(claims: list[Claim], place: str) -> None:
    ids = [claim.id for claim in claims]
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise UserError(
            f"ids in {place} must differ", got=f"{', '.join(twice)} twice", remedy="rename one"
        )


def _frame(path: Path, numbers: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV of numbers into the columns of our own results."""
    import pandas as pd

    rows = []
    try:
        with open(path, encoding="utf-8", newline="") as opened:
            reader = csv.DictReader(opened)
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path.name} must have the columns {', '.join(REQUIRED)}",
                    got=f"no {', '.join(missing)}",
                    remedy="add them",
                )
            for line, row in enumerate(reader, 2):
                rows.append(_row(row, f"{path.name}, line {line}", numbers))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            "numbers of a paper must be a CSV file in UTF-8",
            got=f"{path} ({error})",
            remedy="write it again",
        ) from error
    names = [*COLUMNS, *numbers, *(("printed", "test", "n_a", "n_b") if numbers else ())]
    made = pd.DataFrame(rows, columns=names)
    kinds = {"seed": "Int64", "value": "float64", "fraction": "float64"}
    return made.astype(kinds | ({"n_a": "Int64", "n_b": "Int64"} if numbers else {}))


def _row(row: dict[str, Any], place: str, numbers: tuple[str, ...]) -> dict[str, Any]:
    said = {key: value or "" for key, value in row.items() if key}
    full: dict[str, Any] = {**dict.fromkeys(COLUMNS, ""), **DEFAULTS, **said, "study": "published"}
    full["precision"] = full["precision"] or "full"
    precision = full["precision"]
    made = full | {
        "fraction": _number(full, "fraction", place, empty_is_nan=True),
        "value": _number(full, "value", place, empty_is_nan=bool(numbers)),
        "seed": int(_number(full, "seed", place)) if full["seed"] != "" else None,
        "precision": precision if precision in WORDS else _number(full, "precision", place),
    }
    for name in numbers:
        made[name] = _number(full, name, place, empty_is_nan=True)
    if numbers:
        made |= {name: full.get(name, "") for name in ("printed", "test")}
        for name in ("n_a", "n_b"):
            made[name] = int(_number(full, name, place)) if full.get(name) else None
    return made


def _number(row: dict[str, Any], name: str, place: str, *, empty_is_nan: bool = False) -> float:
    text = row.get(name, "")
    if text == "" and empty_is_nan:
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise UserError(
            f"{place}: {name} must be a number", got=repr(text), remedy="correct the file"
        ) from error
