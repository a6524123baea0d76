"""What a comparison is told: margins and levels, and which pairs are tested as one family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Whose runs share seeds or subsamples by design: then a paired test is the better one.
Pairing = Literal["none", "own", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedCells:
    """The held-out cells of a data set of which only scores are known.

    `class_sizes` are the cells of each class, `hard_sizes` those of the hard classes; empty where
    nobody has printed them. `donors` says whose cells they are, where fresh ones would be others'.
    """

    cells: int
    class_sizes: list[int] = field(default_factory=list)
    hard_sizes: list[int] = field(default_factory=list)
    donors: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSettings:
    """What the claims as a whole declare: margin, levels, and facts about the models.

    `classes` is the number of reported classes of a dataset, by which a constant prediction is
    told; `reported` its held-out cells; `selected_on` names the set on which the paper chose a
    model's epoch.
    """

    alpha: float = 0.05
    margin: float = 0.01
    better: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    reported: Mapping[str, ReportedCells] = field(default_factory=dict)
    selected_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs of cells: every dataset, share of the labels and metric that is listed.

    `a` and `b` are written model/arm; `artefact` picks the paper's runs, ours have none.
    """

    artefact: str
    a: str
    b: str = ""
    datasets: list[str] = field(default_factory=list)
    fractions: list[float] = field(default_factory=lambda: [1.0])
    metrics: list[str] = field(default_factory=lambda: ["accuracy", "macro_f1"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Tests that are corrected together, declared before they are looked at."""

    why: str
    pairing: Pairing = "none"
    members: list[Pairs]
