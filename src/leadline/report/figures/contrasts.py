"""All comparisons of a study in one forest: estimate, interval, verdict, p."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leadline.report.figures.drawing import Drawing
from leadline.report.figures.forest import Column, DrawnDifference, draw
from leadline.report.figures.panels import require
from leadline.report.figures.style import WIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared(DrawnDifference):
    """One comparison, with p as it is to be written."""

    p: str


def contrasts(
    found: Sequence[Compared],
    *,
    family: str,
    name: str = "forest",
    title: str = "Every comparison of the study",
    width: float = WIDE,
) -> Drawing:
    """Draw each comparison as a line; on the right its corrected p."""
    require(found, "a forest plot needs comparisons", "declare which arms are compared")
    rows = [each.row(note=each.p, tag=f"{each.group}, {each.label}") for each in found]
    return Drawing(
        name=name,
        title=title,
        caption=f"Mean of the arm less mean of what it is compared with, with the 95 % interval "
        "of the test that decides, as a rule over fresh runs and fresh cells; on the right p after "
        f"Holm’s correction over {family}. Colour and sign give the verdict.",
        description=" ".join(map(_sentence, found)),
        figure=draw([Column(rows=rows, axis="difference of means")], width),
    )


def _sentence(each: Compared) -> str:
    p = f", p {each.p}" if each.p else ""
    return f"{each.told()}{p}, {each.verdict}."
