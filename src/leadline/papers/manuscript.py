r"""One's own manuscript: numbers marked in LaTeX or Markdown, against the records they come from.

In LaTeX a macro holds the number and where it comes from, and prints the number alone:
`\newcommand{\leadline}[2]{#1}`, then `\leadline{0.812}{dataset=ms arm=scgpt/reference
metric=accuracy}`. In Markdown a comment follows the number: `0.812<!-- leadline: dataset=ms
arm=scgpt/reference metric=accuracy -->`. docs/claims.md lists the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from leadline.errors import UserError, nearest
from leadline.papers.drafts.numbers import PrintedNumber, number_of_cell
from leadline.report.compare.arms import Condition
from leadline.report.compare.evidence import Evidence
from leadline.report.frame import frame
from leadline.runs import records

LARGEST = 20 * 2**20
MACRO = re.compile(r"\\leadline\s*\{([^{}]{1,80})\}\s*\{([^{}]{0,300})\}")
COMMENT = re.compile(r"(\S{1,40})[ \t]?<!--\s*leadline:\s*([^>]{0,300}?)\s*-->")
DEFINITION = re.compile(r"\\(?:re)?newcommand\*?\s*\{?\\leadline\}?")
REQUIRED = ("dataset", "arm", "metric")
KNOWN = (*REQUIRED, "fraction", "of", "seed", "protocol")
OF = {
    "mean": lambda values: float(values.mean()),
    "sd": lambda values: float(values.std(ddof=1)) if values.size > 1 else None,
    "min": lambda values: float(values.min()),
    "max": lambda values: float(values.max()),
    "n": lambda values: float(values.size),
}


class Fate(StrEnum):
    """What became of a marked number."""

    EQUAL = "equal"
    STALE = "stale"
    WITHOUT_RUN = "without a run"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundNumber:
    """A marked number, what the records give instead, and where it stands."""

    place: str
    printed: str
    source: str
    fate: Fate
    value: float | None = None

    @property
    def line(self) -> str:
        """Say it in a line."""
        told = "" if self.value is None else f", records give {self.value:.6g}"
        return f"{self.place}: {self.printed} {self.fate}{told} ({self.source})"


def bind_manuscript(manuscript: Path, runs_dir: Path) -> list[BoundNumber]:
    """Compare every marked number with the records of a folder, granting its rounding.

    Raises
    ------
    UserError
        When the file has no mark, or a mark that cannot be understood.
    """
    text = _read(manuscript)
    marks = list(_marks(text, manuscript))
    if not marks:
        raise UserError(
            "a manuscript must mark the numbers that come from runs",
            got=f"none in {manuscript.name}",
            remedy=r"write \leadline{0.812}{dataset=… arm=model/arm metric=…}, or the comment "
            "<!-- leadline: … --> after a number",
        )
    found = records.read_done(runs_dir)
    evidence: dict[str | None, Evidence] = {}
    made = []
    for place, printed, number, words in marks:
        protocol = words.get("protocol")
        if protocol not in evidence:
            evidence[protocol] = Evidence.of(frame(_of_protocol(found, protocol, place)))
        value = _value(evidence[protocol], words)
        fate = _fate(number, words, value)
        source = " ".join(f"{key}={given}" for key, given in words.items())
        made.append(
            BoundNumber(place=place, printed=printed, source=source, fate=fate, value=value)
        )
    return made


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(
                "a manuscript may have 20 MB", got=path.name, remedy="give the text alone"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "a manuscript must be a text file in UTF-8",
            got=f"{path} ({getattr(error, 'strerror', None) or 'other bytes'})",
            remedy="look at the path",
        ) from error


def _marks(text: str, path: Path) -> Iterator[tuple[str, str, PrintedNumber, Mapping[str, str]]]:
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    commented = _comments(text) if path.suffix == ".tex" else []
    line = 0
    for found in sorted([*MACRO.finditer(text), *COMMENT.finditer(text)], key=lambda x: x.start()):
        while line + 1 < len(starts) and starts[line + 1] <= found.start():
            line += 1
        lead = text[starts[line] : found.start()]
        if DEFINITION.search(lead) or any(a <= found.start() < b for a, b in commented):
            continue
        place = f"{path.name}:{line + 1}"
        printed = found[1].strip("*_`$ ") if found[0].startswith("\\") else _last_number(found[1])
        plain = re.sub(r"\\[,;: ]|[$~]", "", printed.replace(r"\%", "%").replace(r"\pm", "±"))
        numbers = number_of_cell(plain)
        if len(numbers) != 1:
            raise UserError(
                f"{place}: a mark must stand at one number",
                got=repr(printed),
                remedy="mark the mean and what stands after ± each by itself (of=mean, of=sd)",
            )
        yield place, printed, numbers[0], _words(found[2], place)


def _comments(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"(?<!\\)%[^\n]*", text)]


def _last_number(text: str) -> str:
    """Take the number off the end of what stands before a comment, as in (0.812 or **0.812**."""
    found = re.search(r"[−–-]?[\d.,·]*\d(?:[eE][−–-]?\d+)?\s?%?(?=[*_`)\]]*$)", text)
    return found[0] if found else text


def _words(text: str, place: str) -> dict[str, str]:
    words: dict[str, str] = {}
    for piece in re.split(r"[\s,;]+", text.replace(r"\_", "_").strip()):
        key, equals, given = piece.partition("=")
        if not equals or not given:
            raise UserError(
                f"{place}: a mark must consist of KEY=VALUE", got=repr(piece), remedy="correct it"
            )
        if key not in KNOWN:
            raise UserError(
                f"{place}: a mark must use known keys", got=key, remedy=nearest(key, KNOWN)
            )
        words[key] = given
    missing = [key for key in REQUIRED if key not in words]
    if missing:
        raise UserError(
            f"{place}: a mark must say {', '.join(REQUIRED)}",
            got=f"no {', '.join(missing)}",
            remedy="add it",
        )
    if words.get("of", "mean") not in OF:
        raise UserError(
            f"{place}: of must be one of {', '.join(OF)}",
            got=words["of"],
            remedy=nearest(words["of"], OF),
        )
    for key in ("fraction", "seed"):
        if not re.fullmatch(r"\d+(\.\d+)?", words.get(key, "1")):
            raise UserError(f"{place}: {key} must be a number", got=words[key], remedy="correct it")
    return words


def _of_protocol(
    found: list[dict[str, Any]], protocol: str | None, place: str
) -> list[dict[str, Any]]:
    names = sorted({str(facts["protocol"]["name"]) for facts in found})
    if protocol is None and len(names) > 1:
        raise UserError(
            f"{place}: records of several protocols must not be mixed",
            got=", ".join(names),
            remedy=f"add protocol={names[0]} to the mark",
        )
    return [facts for facts in found if protocol in (None, str(facts["protocol"]["name"]))]


def _value(evidence: Evidence, words: Mapping[str, str]) -> float | None:
    model, _, arm = words["arm"].partition("/")
    cell = Condition(
        words["dataset"], model, arm or model, float(words.get("fraction", 1)), words["metric"]
    )
    side = evidence.side(cell)
    values = side.values
    if "seed" in words:
        wanted = [seed == int(float(words["seed"])) for seed in side.seeds]
        values = values[np.array(wanted, bool)] if wanted else values
    if not values.size or not np.isfinite(values).all():
        return None
    return OF[words.get("of", "mean")](values)


def _fate(number: PrintedNumber, words: Mapping[str, str], value: float | None) -> Fate:
    if value is None:
        return Fate.WITHOUT_RUN
    low, high = number.low, number.high
    if number.kind == "percent":
        low, high = low / 100, high / 100
    if words.get("of") == "n":
        low = high = number.value
    slack = 1e-9 * max(1.0, abs(value))
    return Fate.EQUAL if low - slack <= value <= high + slack else Fate.STALE
