"""What stands under a figure, and what is read out in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from leadline.report.compare.arms import Condition
from leadline.report.figures.groups import Group
from leadline.report.figures.pvalues import Tests
from leadline.report.figures.style import one_line, word


def caption(groups: Iterable[Group], tests: Tests) -> str:
    """Tell how to read a figure of runs, and what it could not show."""
    drawn = list(groups)
    said = ["Every dot is a run; a bar is the mean, the line through it its 95 % Student interval."]
    if tests.by_pair:
        test = tests.name.removeprefix("p: ")
        said.append(f"p is two-sided ({test} tests), in bold below {tests.alpha:g}.")
        said += _odd_tests(tests)
    said += _gaps(drawn)
    return " ".join(said)


def _odd_tests(tests: Tests) -> list[str]:
    ranges = [value for value in tests.by_pair.values() if value.p is None]
    if not ranges:
        return []
    return [
        "Where only scores are known, not which cells each run got right, ≤ and ≥ are bounds of p, "
        "and “open” means that they lie on both sides of the level."
    ]


def _gaps(groups: Sequence[Group]) -> list[str]:
    said = []
    digitised = sum(int(group.digitised.sum()) for group in groups)
    if digitised:
        said.append(f"{digitised} hollow dots were read off an image of the paper’s figure.")
    printed = sum(group.printed for group in groups)
    if printed:
        said.append(
            f"In {printed} of {len(groups)} groups markers hide one another there: the mean is "
            "the printed one (hollow bar), with an interval only where the paper prints one."
        )
    bare = sum(group.interval is None and not group.printed for group in groups)
    if bare:
        said.append(
            f"{bare} of {len(groups)} groups have one run, or runs that agree: no interval."
        )
    crashed = sum(int(group.collapsed.sum()) for group in groups)
    if crashed:
        said.append(f"{crashed} crosses are runs that predict one class for every cell.")
    broken = sum(group.broken for group in groups)
    if broken:
        said.append(f"{broken} runs have no finite score and are not drawn.")
    return said


def describe(panels: Mapping[tuple[str, str], Mapping[Condition, Group]], tests: Tests) -> str:
    """Say all means, intervals and tests of a figure in sentences."""
    said = []
    for (dataset, metric), groups in panels.items():
        numbers = "; ".join(group.sentence + _tested(cell, tests) for cell, group in groups.items())
        said.append(f"{one_line(word(dataset))}, {one_line(word(metric))}. {numbers}.")
    return " ".join(said)


def _tested(cell: Condition, tests: Tests) -> str:
    return "".join(f", p {tests.of(cell, other).text}" for other in tests.partners(cell))
