"""How figures look: sizes, type, and one colour and marker for each arm, everywhere the same."""

from __future__ import annotations

import contextlib
import hashlib
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.style

from leadline.config.registry import ROWS
from leadline.stats import metrics

# Widths of a journal's two columns and of one, in millimetres.
WIDE, NARROW = 175.0, 85.0
# Of figures that are drawn once for both.
MIDDLE = 125.0
INCH = 25.4
INK, MUTED, FAINT = "#1a1a1a", "#5c5c5c", "#e4e4e4"
SMALL, TEXT, TITLE = 7.0, 7.5, 8.5
LABEL = 26
JOINT = "\x1f"
RC: dict[Any, Any] = {
    # The one family that comes with matplotlib: the same letters, and bytes, on every machine.
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "axes.titlesize": TITLE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.4,
    # Names come from users' files: a dollar sign in one is no formula.
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "leadline",
    "pdf.fonttype": 42,
}


# Ends the name of an arm whose runs are the paper's and stand beside ours.
PUBLISHED = " (published)"


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, marker and word of an arm; open where the runs are the paper's beside ours."""

    colour: str
    marker: str
    word: str
    published: bool = False


# Each at least 3 : 1 against white, and apart from one another for colour-blind readers as well;
# the marker says it a second time. An ablation keeps its colour from model to model.
LOOKS = {
    "scbert/reference": Look("#0072B2", "o", ROWS["scbert"].title),
    "logreg/logreg": Look("#D55E00", "s", ROWS["logreg"].title),
    "scgpt/reference": Look("#00785A", "D", ROWS["scgpt"].title),
    "no_pretraining": Look("#5C2E00", "^", "no pre-training"),
    "no_pretraining_frozen": Look("#4D4D4D", "<", "no pre-training, embeddings frozen"),
    "no_gene2vec": Look("#A8358F", "v", "no gene2vec"),
}
# A model that stands as an arm of its own is its full self.
ALIASES = {"scgpt/scgpt": "scgpt/reference", "scbert/scbert": "scbert/reference"}
# Baselines: their colours too stand out from white; their signs tell them from all others.
BASELINES = {
    f"{name}/{name}": Look(colour, marker, ROWS[name].title)
    for name, colour, marker in (
        ("mlp", "#332288", "P"),
        ("knn_pca", "#7A6A00", "p"),
        ("nearest_centroid", "#882255", "h"),
        ("majority", "#767676", "d"),
        ("stratified", "#2F6F8F", ">"),
    )
}
# For arms that nobody has fixed: the name picks, so that a name looks the same in every figure.
OTHER_COLOURS = ("#117733", "#A0522D", "#6A3D9A", "#C2185B", "#00695C", "#455A64")
OTHER_MARKERS = ("h", "p", "<", ">", "d", "H")
VERDICTS = {
    "holds": Look("#00785A", "o", "holds"),
    "fragile": Look("#B07A00", "^", "fragile: holds by the paper’s test, not by a better one"),
    "fails": Look("#C1272D", "X", "fails"),
    "better": Look("#00785A", "o", "better"),
    "worse": Look("#C1272D", "X", "worse"),
    "equivalent": Look("#0072B2", "s", "equivalent within the margin"),
    "open": Look("#B07A00", "^", "open: neither is shown"),
    "untested": Look("#5c5c5c", "d", "not tested"),
}
WORDS = {
    **{name: row.title for name, row in ROWS.items()},
    **{name: row.title for name, row in metrics.ROWS.items()},
    "zheng68k": "PBMC",
    "ms": "multiple sclerosis",
    "reference": "full model",
    "no_pretraining": "no pre-training",
    "no_pretraining_frozen": "embeddings frozen",
    "no_gene2vec": "no gene2vec",
}


def look(arm: str) -> Look:
    """Give the look of an arm, written model/arm; an unknown name always gets the same."""
    if arm.endswith(PUBLISHED):
        ours = look(arm.removesuffix(PUBLISHED))
        return Look(ours.colour, ours.marker, f"{ours.word}, published", published=True)
    arm = ALIASES.get(arm, arm)
    model, _, name = arm.partition("/")
    known = LOOKS.get(arm) or LOOKS.get(name) or BASELINES.get(arm)
    if known is not None:
        return known
    digest = hashlib.sha256(arm.encode()).digest()
    colour = OTHER_COLOURS[digest[0] % len(OTHER_COLOURS)]
    marker = OTHER_MARKERS[digest[1] % len(OTHER_MARKERS)]
    return Look(colour, marker, lines(name if name.startswith(model) else arm))


def word(name: str) -> str:
    """Give the word for a name of the configuration; other names as they are."""
    return WORDS.get(name) or lines(name)


def lines(name: str, width: int = LABEL) -> str:
    """Set a name in lines, whole; signs that no font can draw are replaced."""
    seen = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)
    # A long name may be broken behind its underscores and strokes, where no space is lost.
    parted = re.sub(r"(?<=[_/])(?=\S)", f"{JOINT} ", seen)
    wrapped = "\n".join(textwrap.wrap(parted, width, break_on_hyphens=False)) or seen
    return wrapped.replace(f"{JOINT} ", "").replace(JOINT, "")


def most_lines(names: Iterable[str]) -> int:
    """Count the lines of the name that has most, for rows that must hold them."""
    return max((name.count("\n") + 1 for name in names), default=1)


def percent(fraction: float) -> str:
    """Write a share of the labels."""
    return f"{100 * fraction:.4g} %"


def one_line(text: str) -> str:
    """Undo the lines of a name, for sentences."""
    return " ".join(text.split())


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Use this style, whatever the user's matplotlibrc says, and leave no trace."""
    with matplotlib.style.context("default"), mpl.rc_context(RC):
        yield
