"""Numbers of runs and printed aggregates, indexed by the place of a table that they belong to.

A frame with the columns of `report.frame.COLUMNS` is all that is asked for; printed aggregates
(`published.tables()`) stand in where the paper gives a mean and an interval but no runs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.frame import rows_of
from leadline.report.study import Facts

if TYPE_CHECKING:
    import pandas as pd

Rows = list[dict[str, Any]]
# Numbers that are reported: not those of training, nor of cross-validation inside it. The paper
# reports some on what it calls validation; our records call every reported part `test`, and `val`
# only ever selects: it is left out on purpose.
REPORTED = ("test", "validation", "")


@dataclass(slots=True)
class Evidence:
    """All rows of a frame and of the printed tables, ready to be asked for a cell.

    `own` says whether the frame holds our records rather than the paper's numbers; `records` holds
    them by run, and `runs_dir` their folders.
    """

    runs: dict[tuple[object, ...], Rows]
    printed: dict[tuple[object, ...], Rows]
    own: bool
    compared: dict[object, Any] = field(default_factory=dict)
    records: dict[str, Facts] = field(default_factory=dict)
    runs_dir: Path | None = None

    @classmethod
    def of_records(
        cls,
        records: Sequence[Facts],
        runs_dir: Path,
        made: pd.DataFrame | None = None,
        *,
        metrics: Collection[str] | None = None,
    ) -> Evidence:
        """Index the records of runs, whose predictions can be read from their folders.

        `made` is their frame, where it holds more than that of `report.frame`. Other `metrics`
        than these are left out, where they are named.
        """
        found = cls._of_rows(rows_of(records, metrics)) if made is None else cls.of(made)
        found.records = {str(facts["run_id"]): facts for facts in records}
        found.runs_dir = runs_dir
        return found

    @classmethod
    def of(cls, frame: pd.DataFrame, tables: pd.DataFrame | None = None) -> Evidence:
        """Index a frame of runs and, for the paper's own numbers, its printed aggregates."""
        rows: Any = frame.to_dict("records")
        printed: Any = None if tables is None else tables.to_dict("records")
        return cls._of_rows(rows, printed)

    @classmethod
    def _of_rows(cls, rows: Rows, printed: Rows | None = None) -> Evidence:
        _refuse_two_runs_of_one_seed(rows)
        return cls(_indexed(rows), {} if printed is None else _indexed(printed), printed is None)

    def rows(self, cell: Condition, splits: tuple[str, ...] = REPORTED) -> Rows:
        """Give the rows of a cell; a row without an artefact belongs to every one."""
        return [
            row
            for row in self.runs.get(_key_of(cell), [])
            if _text(row["split"]) in splits and _serves(row, cell.artefact)
        ]

    def side(self, cell: Condition) -> ArmRuns:
        """Gather what is known of a cell; empty where that is nothing."""
        rows = self.rows(cell)
        widths = [_width(row["precision"]) for row in rows]
        printed = self.printed_row(cell)
        return ArmRuns(
            cell=cell,
            values=np.array([float(row["value"]) for row in rows]),
            widths=np.array(widths),
            seeds=tuple(seed_of(row["seed"]) for row in rows),
            notes=tuple(_text(row["note"]) for row in rows),
            printed_mean=_known(printed.get("mean")),
            printed_width=_width(printed.get("precision", math.inf)),
            printed_half_width=_known(printed.get("ci95")),
            printed_n=_count(printed.get("n_a")),
            printed_text=printed.get("printed", ""),
            published=not self.own,
            records=tuple(
                self.records[row["run_id"]] for row in rows if row["run_id"] in self.records
            ),
        )

    def printed_row(self, cell: Condition) -> dict[str, Any]:
        """Give what the paper printed of a cell, or of a pair of arms; empty if nothing."""
        found = [row for row in self.printed.get(_key_of(cell), []) if _serves(row, cell.artefact)]
        return found[0] if found else {}

    def printed_test(self, a: Condition, b: Condition) -> dict[str, Any]:
        """Give what was printed of the test of two cells, whichever of them comes first."""
        for first, second in ((a, b), (b, a)):
            models = {first.model, second.model}
            model = first.model if len(models) == 1 else f"{first.model} vs {second.model}"
            arm = f"{first.arm} vs {second.arm}"
            where = (first.dataset, model, arm, first.fraction, first.metric, first.artefact)
            if row := self.printed_row(Condition(*where)):
                return row
        return {}

    def printed_text(self, dataset: str, metric: str) -> str:
        """Give what the prose says of a data set, as printed; empty if nothing."""
        for key, rows in self.printed.items():
            if key[0] == dataset and key[4] == metric and rows[0]["artefact"] == "Prose":
                return str(rows[0]["printed"])
        return ""

    def arms(self, dataset: str, model: str) -> list[str]:
        """List the arms that a model has runs of."""
        return sorted({str(key[2]) for key in self.runs if key[:2] == (dataset, model)})


def _key_of(cell: Condition) -> tuple[object, ...]:
    return (cell.dataset, cell.model, cell.arm, cell.fraction, cell.metric)


def _indexed(rows: list[dict[Any, Any]]) -> dict[tuple[object, ...], Rows]:
    found: dict[tuple[object, ...], Rows] = {}
    for row in rows:
        key = (row["dataset"], row["model"], row["arm"], row["fraction"], row["metric"])
        found.setdefault(key, []).append(row)
    return found


def _width(precision: object) -> float:
    words = {"full": 0.0, "unknown": math.inf}
    return words[str(precision)] if precision in words else float(str(precision))


def _text(value: object) -> str:
    # A frame read from a file has NaN where there is no text.
    return value if isinstance(value, str) else ""


def _serves(row: dict[str, Any], artefact: str) -> bool:
    return not artefact or artefact in (_text(row["artefact"]) or artefact).split("; ")


def seed_of(value: object) -> int | None:
    """Read a seed; None where it is unknown."""
    # pandas marks a missing integer with NA, whose truth value is an error.
    if value is None or type(value).__name__ == "NAType" or value != value:
        return None
    return int(value)  # type: ignore[call-overload]


def _known(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _count(value: object) -> int | None:
    return None if value is None or type(value).__name__ == "NAType" else int(str(value))


def _refuse_two_runs_of_one_seed(rows: list[dict[Any, Any]]) -> None:
    """Refuse a run counted twice: it would pass for a replicate."""
    names = ("artefact", "dataset", "model", "arm", "fraction", "split", "metric")
    seen: dict[tuple[object, ...], str] = {}
    for row in rows:
        seed = seed_of(row["seed"])
        if seed is None or _text(row["split"]) not in REPORTED:
            continue
        key = (*(str(row[name]) for name in names), seed)
        if key in seen:
            where = f"{row['model']}/{row['arm']} on {row['dataset']} at {row['fraction']:.0%}"
            raise UserError(
                f"an arm must have one run per seed ({where})",
                got=f"seed {seed} twice: {seen[key]} and {_name_of(row)}",
                remedy="keep runs of different settings in different folders, or name their arms",
            )
        seen[key] = _name_of(row)


def _name_of(row: dict[Any, Any]) -> str:
    return _text(row["run_id"]) or "a row without a name"
