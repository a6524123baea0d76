"""Corrections over families of tests that claims.yaml declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from leadline import stats
from leadline.errors import UserError
from leadline.report.compare.arms import Condition
from leadline.report.compare.comparison import ArmComparison, PValue
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.fresh_cells import NAME
from leadline.report.compare.pair import compare_pair
from leadline.report.compare.setting import ClaimSettings, Family, Pairing, Pairs
from leadline.stats import Flag

Pair = tuple[Condition, Condition]
CORRECTED = ("student", "welch", "paired_t", NAME)
# A test that could not be done counts like this: a study half done is not corrected for less.
NOT_DONE = PValue(1.0, 1.0, 1.0)


def cells_of(pairs: Pairs) -> Iterator[tuple[Condition, Condition | None]]:
    """Give every pair of cells that is listed; the second is None where there is no `b`."""
    for dataset, fraction, metric in product(pairs.datasets, pairs.fractions, pairs.metrics):
        a = _cell(pairs.a, dataset, fraction, metric, pairs.artefact)
        b = _cell(pairs.b, dataset, fraction, metric, pairs.artefact) if pairs.b else None
        yield a, b


def _cell(name: str, dataset: str, fraction: float, metric: str, artefact: str) -> Condition:
    model, slash, arm = name.partition("/")
    if not slash:
        remedy = "write for example scbert/reference"
        raise UserError("an arm must be written model/arm", got=repr(name), remedy=remedy)
    return Condition(dataset, model, arm, fraction, metric, artefact)


def is_paired(pairing: Pairing, evidence: Evidence) -> bool:
    """Whether runs of the compared arms share seeds or subsamples by design."""
    return pairing == "all" or (pairing == "own" and evidence.own)


def adjusted(
    evidence: Evidence, name: str, family: Family, setting: ClaimSettings
) -> Mapping[Pair, Mapping[str, PValue]]:
    """Give Holm's p of each pair of a family by test: `student_holm`, `welch_holm`, ...

    Each pair is found in either order. Pairs without a test have none corrected either.
    """
    key = ("family", name)
    if key not in evidence.compared:
        evidence.compared[key] = _adjusted(members(evidence, family, setting))
    found: Mapping[Pair, Mapping[str, PValue]] = evidence.compared[key]
    return found


def members(
    evidence: Evidence, family: Family, setting: ClaimSettings
) -> dict[Pair, ArmComparison | None]:
    """Compare every pair of a family; None where that cannot be done."""
    found: dict[Pair, ArmComparison | None] = {}
    for pairs in family.members:
        for a, b in cells_of(pairs):
            assert b is not None, "a family is made of pairs"
            try:
                found[a, b] = compare_pair(evidence, evidence.side(a), evidence.side(b), setting)
            except UserError:
                # The claim that asks for this pair says why it cannot be tested.
                found[a, b] = None
    return found


def _adjusted(found: Mapping[Pair, ArmComparison | None]) -> dict[Pair, dict[str, PValue]]:
    by_pair: dict[Pair, dict[str, PValue]] = {pair: {} for pair in found}
    for test in CORRECTED:
        values = {pair: _value(each, test) for pair, each in found.items()}
        # Over fresh cells each metric is a family of its own; the paper's tests are pooled as it
        # starred them.
        metrics = {pair[0].metric if test == NAME else "" for pair in found}
        corrected: dict[Pair, PValue] = {}
        for metric in metrics:
            corrected |= _holm({p: v for p, v in values.items() if metric in ("", p[0].metric)})
        for pair, value in values.items():
            if value is not NOT_DONE:
                by_pair[pair][f"{test}_holm"] = corrected[pair]
    return by_pair | {(b, a): tests for (a, b), tests in by_pair.items()}


def _value(found: ArmComparison | None, test: str) -> PValue:
    tests = {} if found is None else found.tests
    if test in ("paired_t", NAME):
        return tests.get(test, NOT_DONE)
    # Against one number of a deterministic model there is one test, which takes every place.
    return tests.get(test) or tests.get("one_sample") or NOT_DONE


def _holm(values: Mapping[Pair, PValue]) -> dict[Pair, PValue]:
    names = {str(position): pair for position, pair in enumerate(values)}
    least = stats.holm({name: values[pair].least for name, pair in names.items()})
    most = stats.holm({name: values[pair].most for name, pair in names.items()})
    single = {name: values[pair].p for name, pair in names.items()}
    known = {name: p for name, p in single.items() if p is not None}
    # One member known within bounds only leaves the whole family within bounds.
    exact = stats.holm(known) if len(known) == len(names) else {}
    return {pair: PValue(exact.get(name), least[name], most[name]) for name, pair in names.items()}


def survivors(evidence: Evidence, name: str, family: Family, setting: ClaimSettings) -> Flag | None:
    """Say how many tests of a family are significant, as they are and corrected."""
    found = members(evidence, family, setting)
    if not any(found.values()):
        return None
    corrected = adjusted(evidence, name, family, setting)
    numbers = {"tests": float(len(found))}
    numbers["student"] = _count([_value(each, "student") for each in found.values()], setting)
    for test in ("welch_holm", "paired_t_holm", f"{NAME}_holm"):
        values = [corrected[pair][test] for pair in found if test in corrected[pair]]
        if values:
            numbers[test] = _count(values, setting)
    said = ", ".join(f"{int(numbers[test])} by {test}" for test in list(numbers)[1:])
    if "paired_t_holm" in numbers and not is_paired(family.pairing, evidence):
        said += " (whose pairs share no more than the number of the run)"
    sentence = f"of the {len(found)} tests of {name}, significant at {setting.alpha:g}: {said}"
    return Flag("family", "note", sentence, numbers)


def _count(values: list[PValue], setting: ClaimSettings) -> float:
    return float(sum(value.most < setting.alpha for value in values))
