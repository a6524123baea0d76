"""Figures of any frame of results: every run a dot, the mean with its interval, tests by name.

Each builder takes a frame with the columns of `tidy` (or the `Evidence` made of one) and gives a
`Drawing`: a matplotlib figure with its title, caption and text alternative. A builder whose runs
are missing raises `UserError`; `draw_all` gathers those as reasons instead.
"""

from leadline.figures.drawing import Drawing, save, to_pdf, to_svg
from leadline.figures.fewshot import few_shot
from leadline.figures.forest import forest
from leadline.figures.groups import Group, gather
from leadline.figures.paper import draw_all
from leadline.figures.runs import every_run
from leadline.figures.style import NARROW, WIDE, Look, look

__all__ = [
    "NARROW",
    "WIDE",
    "Drawing",
    "Group",
    "Look",
    "draw_all",
    "every_run",
    "few_shot",
    "forest",
    "gather",
    "look",
    "save",
    "to_pdf",
    "to_svg",
]
