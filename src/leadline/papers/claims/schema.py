"""The shape of claims.yaml and discrepancies.yaml; what does not fit is refused with its place."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeVar

from leadline.errors import UserError, nearest
from leadline.report.compare.setting import ClaimSettings, Family, Pairing, Pairs

Read = TypeVar("Read")


def parse(kind: type[Read], given: Any, place: str) -> Read:
    """Build a dataclass of this module from what YAML gave; refuse what does not fit."""
    if not isinstance(given, Mapping):
        raise _misfit(place, "a mapping", given)
    known = {each.name: each for each in fields(typing.cast(Any, kind))}
    for key in given:
        if key not in known:
            raise UserError(
                f"{place} must have known keys only", got=str(key), remedy=nearest(str(key), known)
            )
    for name, each in known.items():
        if name not in given and each.default is MISSING and each.default_factory is MISSING:
            raise UserError(
                f"{place} must say {name}",
                got=f"only {', '.join(map(str, given))}",
                remedy="add it",
            )
    kinds = typing.get_type_hints(kind)
    return kind(**{key: _fit(kinds[key], value, f"{place}: {key}") for key, value in given.items()})


def _fit(kind: Any, value: Any, place: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return parse(typing.cast(type, kind), value, place)
    if origin is Literal:
        if value not in inner:
            remedy = nearest(str(value), map(str, inner))
            raise UserError(f"{place} must be a known word", got=repr(value), remedy=remedy)
        return value
    if origin is types.UnionType:
        return None if value is None else _fit(inner[0], value, place)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise _misfit(place, "a list", value)
        names = [f"{place}[{_name(each, i)}]" for i, each in enumerate(value)]
        fitted = [_fit(inner[0], each, name) for each, name in zip(value, names, strict=True)]
        return tuple(fitted) if origin is tuple else fitted
    if isinstance(kind, type) is False or origin is not None:
        if not isinstance(value, Mapping):
            raise _misfit(place, "a mapping", value)
        return {str(key): _fit(inner[1], each, f"{place}.{key}") for key, each in value.items()}
    return _plain(kind, value, place)


def _plain(kind: Any, value: Any, place: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
        raise _misfit(place, words[kind], value)
    return value


def _name(value: Any, position: int) -> str:
    return str(value["id"]) if isinstance(value, Mapping) and "id" in value else str(position)


def _misfit(place: str, wanted: str, value: Any) -> UserError:
    return UserError(f"{place} must be {wanted}", got=repr(value)[:60], remedy="correct the file")


CriterionName = Literal[
    "below",
    "order",
    "significantly_below",
    "not_significant",
    "gap_within",
    "value_within",
    "rises_with_fraction",
    "gap_shrinks_with_fraction",
    "range_at_least",
    "spread_below",
    "two_groups",
    "best_setting",
    "counts_equal",
    "counts_ordered",
    "not_checkable",
]
FindingName = Literal["heuristic", "implied_cells", "chosen_settings", "frozen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A number that follows from a definition or from rows that say how many.

    `of` is `parameters` (from the architecture), `value` (one row of the frame), `cells_of_scores`
    (cells that make every score a whole number of them) or `cells_of_bins` (entries of the
    histogram over genes).
    """

    name: str
    of: Literal["parameters", "value", "cells_of_scores", "cells_of_bins"]
    dataset: str = ""
    model: str = ""
    arm: str = ""
    metric: str = ""
    artefact: str = ""
    fraction: float = 1.0
    classes: int = 0
    trained: str = "all"
    expected: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to be checked, for every cell that it lists.

    `limits` go by metric: (low, high) for `value_within`, a number else. `settings` are the
    values of C that a dataset should choose. `family` names the tests corrected with this one;
    `equivalence` says that the claim is one of no difference, which a test of difference alone
    cannot show.
    """

    criterion: CriterionName
    artefact: str = ""
    a: str = ""
    b: str = ""
    datasets: list[str] = field(default_factory=list)
    fractions: list[float] = field(default_factory=lambda: [1.0])
    metrics: list[str] = field(default_factory=lambda: ["accuracy", "macro_f1"])
    limits: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)
    counts: list[Count] = field(default_factory=list)
    family: str = ""
    pairing: Pairing = "none"
    equivalence: bool = False
    reason: str = ""

    @property
    def pairs(self) -> Pairs:
        """Give the pairs of cells that it lists."""
        return Pairs(
            artefact=self.artefact,
            a=self.a,
            b=self.b,
            datasets=self.datasets,
            fractions=self.fractions,
            metrics=self.metrics,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of the paper in our words, with what decides it."""

    id: str
    statement: str
    artefact: str
    checks: list[Check]
    published: dict[str, float] = field(default_factory=dict)
    tolerance: dict[str, float] = field(default_factory=dict)
    discrepancies: list[str] = field(default_factory=list)
    findings: list[FindingName] = field(default_factory=list)
    unchecked: str = ""
    # What run would decide it, for a claim that the published numbers leave open.
    decided_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsFile:
    """All of claims.yaml."""

    setting: ClaimSettings
    families: dict[str, Family]
    claims: list[Claim]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One number of the runs: by default the mean of a cell, or of a part of its runs."""

    dataset: str
    model: str
    arm: str
    metric: str
    artefact: str
    fraction: float = 1.0
    of: Literal["mean", "paper_half_width", "student_half_width", "printed"] = "mean"
    runs: Literal[
        "all", "reused", "dedicated", "high_mode", "all_but_lowest", "trained", "first_three"
    ] = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Points between two numbers of the runs, `a` less `b`, named by what they show."""

    what: str
    a: Quantity
    b: Quantity | None = None
    constant: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The setting of leadline that realises either side, and its value for each."""

    key: str
    code: Any = None
    prose: Any = None
    upstream: Any = None
    corrected: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """Where prose, code, notebooks and tables of the paper disagree."""

    id: str
    weight: Literal["A", "B", "C"]
    status: Literal["verified", "inferred", "unverified"]
    what: str
    evidence: str
    consequence: str
    switch: list[Switch] = field(default_factory=list)
    switch_reason: str = ""
    worth: list[Worth] = field(default_factory=list)
    worth_reason: str = ""
    flags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscrepanciesFile:
    """All of discrepancies.yaml."""

    discrepancies: list[Discrepancy]


@cache
def load_claims() -> ClaimsFile:
    """Read and check the claims that come with the package."""
    found = parse(ClaimsFile, read_yaml("claims.yaml"), "claims.yaml")
    _unique([claim.id for claim in found.claims], "claims.yaml")
    for claim in found.claims:
        for check in claim.checks:
            if check.family and check.family not in found.families:
                raise UserError(
                    f"the family of claim {claim.id} must be declared",
                    got=check.family,
                    remedy=nearest(check.family, found.families),
                )
    return found


@cache
def load_discrepancies() -> tuple[Discrepancy, ...]:
    """Read and check the discrepancies that come with the package."""
    found = parse(DiscrepanciesFile, read_yaml("discrepancies.yaml"), "discrepancies.yaml")
    _unique([each.id for each in found.discrepancies], "discrepancies.yaml")
    for each in found.discrepancies:
        for given, reason, name in (
            (each.switch, each.switch_reason, "switch"),
            (each.worth, each.worth_reason, "worth"),
        ):
            if bool(given) == bool(reason):
                raise UserError(
                    f"{each.id} must have either {name} or {name}_reason",
                    got="both" if given else "neither",
                    remedy=f"say in {name}_reason why there is none, and only then",
                )
    return tuple(found.discrepancies)


def read_yaml(name: str) -> Any:
    """Read a YAML file of this package."""
    import yaml

    # libyaml parses ten times faster; wheels have it, some source builds do not.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = files("leadline.papers.boiarsky").joinpath(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=loader)


def _unique(ids: list[str], place: str) -> None:
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise UserError(
            f"ids in {place} must differ", got=f"{', '.join(twice)} twice", remedy="rename one"
        )
