"""What is known of one arm in one place: its runs, and what was printed of them.

A frame with the columns of `report.frame.COLUMNS` is all that is asked for; printed aggregates
(`published.tables()`) stand in where the paper gives a mean and an interval but no runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from leadline import stats
from leadline.errors import UserError
from leadline.stats import Bounds, Effect, Flag, Interval

if TYPE_CHECKING:
    import pandas as pd


Floats = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]
# Numbers that are reported: not those of training, nor of cross-validation inside it. The paper
# reports some on what it calls validation; our records call every reported part `test`, and `val`
# only ever selects: it is left out on purpose.
REPORTED = ("test", "validation", "")
# Markers read from a figure are known to 0.0005 at best, printed runs to 0.00005 at worst.
FINEST_MARKER = 1e-4


@dataclass(frozen=True, slots=True)
class Condition:
    """One place of a table: an arm of a model on a share of the labels, under one metric."""

    dataset: str
    model: str
    arm: str
    fraction: float
    metric: str
    artefact: str = ""

    @property
    def where(self) -> str:
        """Dataset, and share of the labels unless it is all of them."""
        return self.dataset if self.fraction == 1 else f"{self.dataset} {self.fraction:.0%}"

    @property
    def label(self) -> str:
        """Name the mean of this cell, as `published` of a claim does."""
        return f"{self.where} {self.model}/{self.arm} {self.metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmScores:
    """One arm in one cell. `n` counts its runs; `mean` is None where nothing is known.

    Each of the runs is known to within `widths`, the printed mean to within `printed_width`.
    """

    cell: Condition
    values: Floats
    widths: Floats
    seeds: tuple[int | None, ...]
    notes: tuple[str, ...] = ()
    printed_mean: float | None = None
    printed_width: float = math.inf
    printed_half_width: float | None = None
    printed_n: int | None = None
    printed_text: str = ""

    @property
    def complete(self) -> bool:
        """Whether there is a number for every run that is said to exist."""
        counted = self.values.size > 0 and self.printed_n in (None, self.values.size)
        return counted and bool(np.isfinite(self.values).all())

    @property
    def missing(self) -> str:
        """Say why there is no mean."""
        broken = int((~np.isfinite(self.values)).sum())
        if broken:
            return f"{broken} of {self.values.size} runs of {self.cell.label} have no finite score"
        return f"no runs: {self.cell.label}"

    @property
    def has_runs(self) -> bool:
        """Whether the runs are known well enough to be tested themselves."""
        fine = self.values.size > 0 and float(self.widths.max()) <= FINEST_MARKER
        return self.complete and (fine or self.printed_mean is None)

    @property
    def mean(self) -> float | None:
        """Give the mean over runs, as printed where the runs are markers of a figure."""
        if self.has_runs:
            return float(self.values.mean())
        return self.printed_mean

    @property
    def recomputed(self) -> float | None:
        """Give the mean over the runs themselves, whatever their precision."""
        return float(self.values.mean()) if self.complete else None

    @property
    def finest_mean(self) -> float | None:
        """Give the printed mean where it has more digits than the runs that it is the mean of."""
        finer = self.widths.size > 0 and self.printed_width < float(self.widths.max())
        return self.printed_mean if finer else self.mean

    @property
    def n(self) -> int:
        """Count the runs behind the mean."""
        return int(self.values.size if self.has_runs else self.printed_n or 0)

    def summary(self) -> stats.Summary | None:
        """Give mean, standard deviation and n, from the runs or from the printed interval."""
        if self.has_runs:
            return stats.summarise(self.values) if self.values.size > 1 else None
        if self.printed_mean is None or self.printed_half_width is None or self.n < 2:
            return None
        return stats.summary_from_paper(self.printed_mean, self.printed_half_width, self.n)


@dataclass(slots=True)
class Evidence:
    """All rows of a frame and of the printed tables, ready to be asked for a cell.

    `own` says whether the frame holds our records rather than the paper's numbers.
    """

    runs: dict[tuple[object, ...], Rows]
    printed: dict[tuple[object, ...], Rows]
    own: bool
    compared: dict[object, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame, tables: pd.DataFrame | None = None) -> Evidence:
        """Index a frame of runs and, for the paper's own numbers, its printed aggregates."""
        rows = frame.to_dict("records")
        _refuse_two_runs_of_one_seed(rows)
        printed = {} if tables is None else _indexed(tables.to_dict("records"))
        return cls(_indexed(rows), printed, own=tables is None)

    def rows(self, cell: Condition, splits: tuple[str, ...] = REPORTED) -> Rows:
        """Give the rows of a cell; a row without an artefact belongs to every one."""
        return [
            row
            for row in self.runs.get(_key_of(cell), [])
            if _text(row["split"]) in splits and _serves(row, cell.artefact)
        ]

    def side(self, cell: Condition) -> ArmScores:
        """Gather what is known of a cell; empty where that is nothing."""
        rows = self.rows(cell)
        widths = [_width(row["precision"]) for row in rows]
        printed = self.printed_row(cell)
        return ArmScores(
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
    return 0.0 if precision == "full" else float(str(precision))


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


# A range narrower than this share of its upper end is shown as one number.
NARROW = 1e-2


@dataclass(frozen=True, slots=True)
class PValue:
    """The p of a test: the one number if it is known, and the range that it can have."""

    p: float | None
    least: float
    most: float

    def __str__(self) -> str:
        if self.p is not None:
            return f"{self.p:.2g}"
        if self.most - self.least <= NARROW * self.most:
            return f"{self.most:.2g}"
        return f"{self.least:.2g} ... {self.most:.2g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of a less mean of b, with what each test says of it.

    `basis` says what was known of the sides. `p` holds what can be said in one number; `bounds`
    the least and the largest that p can be, for the tests where precision or missing runs leave a
    range. `smallest_p` is the least that a test can ever say with so few runs.
    """

    a: ArmScores
    b: ArmScores
    basis: str
    estimate: float
    interval: Interval | None = None
    p: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    smallest_p: Mapping[str, float] = field(default_factory=dict)
    effect: Effect | None = None
    n_pairs: int = 0
    printed_p: float | None = None
    flags: tuple[Flag, ...] = ()

    @property
    def tests(self) -> dict[str, PValue]:
        """Give every test that could be done."""
        names = dict.fromkeys((*self.p, *self.bounds))
        return {name: self._value(name) for name in names}

    def _value(self, test: str) -> PValue:
        p = self.p.get(test)
        if test in self.bounds:
            return PValue(p, self.bounds[test].low, self.bounds[test].high)
        assert p is not None
        return PValue(p, p, p)
