"""All comparisons of a study in one forest: estimate, interval, verdict, p."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leadline.figures.drawing import Drawing
from leadline.figures.forest import Column, Row, draw
from leadline.figures.panels import require
from leadline.figures.style import VERDICTS, WIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One comparison: where it was made, of what, with which result."""

    group: str
    label: str
    estimate: float
    low: float | None
    high: float | None
    verdict: str
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
    rows = [
        Row(
            group=each.group,
            label=each.label,
            estimate=each.estimate,
            low=each.low,
            high=each.high,
            look=VERDICTS[each.verdict],
            note=each.p,
            tag=f"{each.group}, {each.label}",
        )
        for each in found
    ]
    return Drawing(
        name=name,
        title=title,
        caption=f"Mean of the arm less mean of what it is compared with, with the 95 % interval of "
        f"the test; on the right p after Holm’s correction over {family}. Colour and sign give "
        "the verdict.",
        description=" ".join(map(_sentence, found)),
        figure=draw([Column(rows=rows, axis="difference of means")], width),
    )


def _sentence(each: Compared) -> str:
    ends = "" if each.low is None else f", interval {each.low:+.3f} to {each.high:+.3f}"
    p = f", p {each.p}" if each.p else ""
    return f"{each.group}, {each.label}: {each.estimate:+.3f}{ends}{p}, {each.verdict}."
