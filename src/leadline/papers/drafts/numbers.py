"""Numbers in a sentence or a cell of a table, each with its kind and the interval of its rounding.

What only looks like a number is none: references to tables and literature, years, addresses, digits
in names (F1, CD8+, Zheng68K).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from leadline.papers.drafts.grid import LABEL, artefact_name

NumberKind = Literal[
    "mean", "sd", "half_width", "spread", "interval", "range", "p", "n", "percent", "count",
    "statistic", "level", "value",
]  # fmt: skip

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
DASHES = "-−–—‐‑"
MULTIPLIED = "×x✕·∙*"
SPACES = "\u00a0\u2009\u202f"
SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "thousand": 1e3, "million": 1e6, "billion": 1e9}

POWER = (
    rf"(?:\^\{{\s*[{DASHES}+]?\s*\d{{1,3}}\s*\}}|\^[{DASHES}+]?\d{{1,3}}|[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,3}})"
)
POINT = rf"(?:\.|[·∙](?!10(?:{POWER}|[{DASHES}]\d)))"
MANTISSA = rf"\d{{1,3}}(?:[,'{SPACES}]\d{{3}})+(?!\d)(?:{POINT}\d+)?|\d+(?:{POINT}\d+)?|{POINT}\d+"
# Text that lost its raised letters has 10−3 for a thousandth; after a sign of order it is no range.
LOST_POWER = rf"(?:(?<=[<>≤≥])|(?<=[<>≤≥]\s))10[{DASHES}]\d{{1,2}}(?![\d.])"
TOKEN = re.compile(
    rf"(?P<sign>^[{DASHES}+]\s(?=[\d.])|(?<![\w)\]%}}.])[{DASHES}+](?=[\d.]))?"
    rf"(?:(?P<power>(?<![\d.,])10(?:{POWER})|{LOST_POWER})|"
    rf"(?P<mantissa>{MANTISSA})"
    rf"(?:\s*[{MULTIPLIED}]\s*10\s*(?P<times>{POWER}|[{DASHES}]\s?\d{{1,2}}(?![\d.]))"
    rf"|[eE](?P<e>[{DASHES}+]?\d{{1,3}})(?!\w))?)"
)
DEGREES = re.compile(r"(?<![a-zA-Z])[tFzrχX](?:²|\^\{?2\}?)?\s*(\([\d.,\s]+\))(?=\s*=)")
CITATION = re.compile(
    rf"(?<![\w=])\[\s*\d{{1,3}}(?:\s*[,;{DASHES}]\s*\d{{1,3}})*\s*\]|(?<=\w)\[\d{{1,3}}\]"
)
YEAR_SIGN = re.compile(r"\b(?:in|since|year|al\.?,?)\s*\(?$|[A-Z][a-z]+,?\s*\($")
ADDRESS = re.compile(
    r"(?:https?://|www\.|doi:\s?)\S+|\b10\.\d{4,9}/\S+|[^\s@]{1,64}@[^\s@]{1,255}", re.IGNORECASE
)
PLACES = re.compile(
    r"\b(?:sections?|sec\.|equations?|eqs?\.|refs?\.|references?|steps?|chapters?|algorithms?|"
    r"version|pages?|pp\.|lines?|notes?|appendix|panels?|rows?|columns?|v)\s*"
    rf"S?\d+(?:\.\d+)*[a-z]?(?:\s*(?:,|and|[{DASHES}]|to|&)\s*S?\d+(?:\.\d+)*[a-z]?)*",
    re.IGNORECASE,
)
ARTEFACTS = re.compile(
    r"(?:(?:supp(?:lementa(?:ry|l))?\.?|extended data|appendix)\s+)?"
    r"(?:tab(?:le|\.)s?|tables?|fig(?:ure|\.)s?|figures?|figs?\.?)\s*[a-z]?\d+[a-z]?"
    rf"(?:\s*(?:,|and|[{DASHES}]|to|&|,\s*and)\s*[a-z]?\d+[a-z]?(?![\w.%]))*",
    re.IGNORECASE,
)
LEVEL = re.compile(
    r"\s*(?:%|percent|per cent)[\s-]*(?:confidence|credible|CIs?\b|interval|prediction interval)",
    re.IGNORECASE,
)
PERCENT = re.compile(r"\s?(?:%|per\s?cent\b)")
BEFORE_P = re.compile(r"\bp(?:[-\s]?values?)?(?:_\{[^}]*\})?\s*(?:of\s*)?[=<>≤≥~≈]{1,2}\s*$", re.I)
BEFORE_P_WORD = re.compile(r"\bp[-\s]?values?\s*(?:of|:|was|is)\s*$", re.IGNORECASE)
BEFORE_N = re.compile(r"\b[nN]\s*[=:]\s*$")
BEFORE_SD = re.compile(
    r"\b(?:s\.?d\.?|standard deviations?|std\.?)\s*(?:=|:|of|was|is|\()?\s*$", re.IGNORECASE
)
BEFORE_MEAN = re.compile(
    r"\b(?:means?|average|averaging)\s*(?:=|:|of|was|is)?\s*(?:about\s*)?$", re.IGNORECASE
)
BEFORE_STATISTIC = re.compile(
    r"(?<![a-zA-Z])([tFzr]|[χX]\s?(?:²|\^\{?2\}?))\s*(?:\(\s*([\d.,\s]+)\)|_\{([\d.,\s]+)\})?\s*[=]\s*$"
)
RELATION = re.compile(r"(<|>|≤|≥|<=|>=|=|~|≈)\s*$")
WORD_RELATION = re.compile(r"\b(less than|below|more than|at least|at most|about|over)\s*$", re.I)
COUNTED = re.compile(
    r"[\s-]+(?:(?!of\b|and\b|or\b|to\b|in\b|for\b|on\b|vs\b|the\b)[a-zA-Z][\w+/’'-]*\s+){0,3}?"
    r"(cells?|genes?|patients?|donors?|samples?|subjects?|runs?|seeds?|epochs?|batches|folds?|"
    r"layers?|parameters?|datasets?|data sets?|types?|classes|replicates?|times|perturbations?|"
    r"steps?|tissues?|participants?|studies|models?|participants|items?|units|gpus?)\b",
    re.IGNORECASE,
)
SCALE_WORD = re.compile(r"(?:\s?(thousand|million|billion)\b|(k|K|M|B)\b(?![\w-]))")
# How far before a number its name may stand, and how long a cell of numbers may be.
LEAD, LONGEST_CELL = 80, 200
MOST_NUMBERS = 150
# Letters that may follow a number at once.
UNIT_AFTER = re.compile(r"[xX×](?![\w])|(?:fold|points?|pp|s|min|h|GB|MB|GiB|MiB)\b")
SPREAD_AFTER = re.compile(r"\s?(?:%\s?)?(?:±|\+/-|\+/−)\s?$")
DEVIATION = re.compile(r"\b(?:s\.?d\.?|standard deviations?)\b", re.IGNORECASE)
CONFIDENCE = re.compile(r"\b(?:CIs?|confidence intervals?|confidence)\b", re.IGNORECASE)
BETWEEN = re.compile(rf"\s?%?\s?(?:[{DASHES}]|to|and)\s?$")
INTERVAL_OPEN = re.compile(
    r"%?\s*[(\[;,]\s*(?:95|99|90)?\s*%?\s*(?:CIs?|confidence intervals?|credible intervals?)?"
    r"\s*[:=,]?\s*[(\[]?$",
    re.IGNORECASE,
)
OF = re.compile(r"(?P<percent>%)?\s*(?:out of|of|/)\s*(?:the\s+|all\s+)?$")
AND = re.compile(r"\s*%?\s*(?:,|and|, and|or|versus|vs\.?|compared (?:to|with))\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedNumber:
    """A number as printed: `low` and `high` are what it may have been before rounding.

    `relation` is =, <, > or ~. A spread, an end of an interval, or the whole of "a of b" says by
    `belongs_to` at which letter the number begins that it is about. A percentage keeps its number
    of hundredths. `mark` is a raised letter or star beside it.
    """

    kind: NumberKind
    value: float
    low: float
    high: float
    start: int
    end: int
    text: str
    relation: str = "="
    belongs_to: int | None = None
    mark: str = ""
    degrees: tuple[float, ...] = ()

    @property
    def share(self) -> float:
        """Give a percentage as a share of one, everything else as it is."""
        return self.value / 100 if self.kind == "percent" else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A table or figure that a sentence names."""

    artefact: str
    start: int
    end: int


def mentions(text: str) -> list[Mention]:
    """Find the tables and figures that a text names: each of "Figures 2, 3"."""
    found = []
    for group in ARTEFACTS.finditer(text):
        first = LABEL.match(re.sub(r"(?i)(table|figure|fig)s\b", r"\1", group[0]))
        if first is None:
            continue
        kind = artefact_name(first[0]).rpartition(" ")[0]
        for number in re.findall(r"\b([a-zA-Z]?\d+)[a-zA-Z]?", group[0]):
            name = artefact_name(f"{kind} {number}")
            if name:
                found.append(Mention(artefact=name, start=group.start(), end=group.end()))
    return found


def numbers_in(text: str) -> list[PrintedNumber]:
    """Type every number of a sentence, in its order; a mere stretch of digits has none."""
    if len(re.findall(r"\d+", text)) > MOST_NUMBERS:
        return []
    hidden = _hidden(text)
    found: list[PrintedNumber] = []
    for token in _tokens(text):
        if any(begin <= token.start() < end for begin, end in hidden):
            continue
        number = _number(text, token, found[-1] if found else None)
        if number is not None:
            found.append(number)
    return _joined(text, found)


def number_of_cell(text: str) -> list[PrintedNumber]:
    """Type the numbers of a table's cell; a cell of words has none, whatever digits they hold."""
    bare = text.strip()
    if len(bare) > LONGEST_CELL:
        return []
    if not re.match(rf"[(\[]?\s*(?:[pPnN]\s*)?[<>≤≥=~≈]*\s*[{DASHES}+±]?\s?[.·∙]?\d", bare):
        return []
    # 0,81: where decimals are set off by a comma, no thousands can be meant.
    if re.fullmatch(rf"[{DASHES}+]?\d+,(?:\d{{1,2}}|\d{{4,}})(?:\D.*)?|[{DASHES}+]?0,\d+.*", bare):
        text = re.sub(r"(\d),(\d)", r"\1.\2", text)
    found = numbers_in(text)
    words = re.sub(r"\^\{[^}]*\}|\b(?:CI|SD|SE|to|of|out|p|n|ns|x|e)\b", " ", text, flags=re.I)
    if len(re.findall(r"[A-Za-z]{2,}", words)) > 2:
        return []
    return [replace(each, mark=mark) if (mark := _mark(text, each.end)) else each for each in found]


def _mark(text: str, end: int) -> str:
    found = re.match(r"\s?%?\s?(\^\{[^}]*\}|[ᵃ-ᶻ†‡§¶*]+|[⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text[end:])
    return found[1].removeprefix("^{").removesuffix("}") if found else ""


def _hidden(text: str) -> list[tuple[int, int]]:
    """Give the stretches whose digits are names of places, not quantities."""
    spans = [each.span() for each in ADDRESS.finditer(text)]
    spans += [each.span() for each in ARTEFACTS.finditer(text)]
    spans += [each.span() for each in PLACES.finditer(text)]
    for found in CITATION.finditer(text):
        before = text[max(0, found.start() - 25) : found.start()]
        if not re.search(r"(?:\bCIs?|intervals?|range|between|bins?)\s*[:=]?\s*$", before, re.I):
            spans.append(found.span())
    for found in re.finditer(r"\b(?:19|20)\d\d[a-z]?\b(?!\s*(?:cells|genes|HVGs|runs))", text):
        if YEAR_SIGN.search(text[max(0, found.start() - 25) : found.start()]):
            spans.append(found.span())
    spans += [each.span(1) for each in DEGREES.finditer(text)]
    # What is raised is a mark or a citation unless it is a power of ten; what is lowered, a name.
    for found in re.finditer(r"([\^_])\{[^}]*\}", text):
        before = text[max(0, found.start() - 2) : found.start()]
        if found[1] == "_" or before[-2:] != "10":
            spans.append(found.span())
    return spans


def _tokens(text: str) -> Iterator[re.Match[str]]:
    place = 0
    while token := TOKEN.search(text, place):
        place = max(token.end(), place + 1)
        yield token


def _is_name(text: str, start: int, end: int) -> bool:
    """Say whether digits belong to a name: letters before them, or after them and no unit."""
    before, after = text[max(0, start - LEAD) : start], text[end : end + 12]
    if re.search(r"[A-Za-z_µ]$|[A-Za-z]+[-–_/.][A-Za-z]*$|[A-Za-z]\d*[.:]$", before[-12:]):
        return not re.search(r"\b(?:and|or|to|vs|of|in|at|by|n|p|c|C)[-–/.]?$", before[-6:]) or (
            re.search(r"[A-Za-z_]$", before) is not None
        )
    if re.match(r"[A-Za-z_]", after):
        return not (SCALE_WORD.match(after) or UNIT_AFTER.match(after))
    return False


def _number(text: str, token: re.Match[str], before: PrintedNumber | None) -> PrintedNumber | None:
    start, end = token.span()
    if _is_name(text, start, end):
        return None
    try:
        value, half = _value(token)
    except OverflowError:
        return None
    if not math.isfinite(value) or not math.isfinite(half):
        return None
    lead = text[max(0, start - LEAD) : start]
    scale = SCALE_WORD.match(text, end)
    if scale:
        factor = SCALES[scale[1] or scale[2]]
        value, half, end = value * factor, half * factor, scale.end()
    is_whole = value == int(value) and not scale and "." not in token[0] and not token["times"]
    relation = _relation(lead)
    kind, degrees = _kind(text, start, end, lead, is_whole=is_whole, scaled=bool(scale))
    if kind == "value" and before is not None and before.kind == "p":
        # p = .34 and .59 for accuracy and F1
        if AND.fullmatch(text[before.end : start]) and 0 <= value <= 1:
            kind = "p"
    if kind in ("count", "n") and is_whole:
        half = 0.0
    low, high = value - half, value + half
    if kind == "p":
        low, high = max(low, 0.0), min(high, 1.0)
        low, high = (
            (0.0, value) if relation == "<" else (value, 1.0) if relation == ">" else (low, high)
        )
    return PrintedNumber(
        kind=kind,
        value=value,
        low=low,
        high=high,
        start=start,
        end=end,
        text=text[start:end],
        relation=relation,
        degrees=degrees,
    )


def _value(token: re.Match[str]) -> tuple[float, float]:
    """Give the number and half a unit of its last digit."""
    negative = bool(token["sign"]) and token["sign"].strip() != "+"
    if token["power"]:
        value = 10.0 ** _exponent(token["power"][2:])
        return -value if negative else value, 0.0
    plain = re.sub(rf"[,'{SPACES}]", "", token["mantissa"]).replace("·", ".").replace("∙", ".")
    exponent = _exponent(token["times"] or token["e"] or "0")
    decimals = len(plain.partition(".")[2])
    value = float(f"{plain}e{exponent}")
    return -value if negative else value, 0.5 * 10.0 ** (exponent - decimals)


def _exponent(text: str) -> int:
    plain = text.translate(SUPERSCRIPTS)
    negative = any(dash in plain for dash in DASHES)
    digits = re.sub(r"\D", "", plain)
    return -int(digits) if negative else int(digits)


def _relation(lead: str) -> str:
    found = RELATION.search(lead)
    if found:
        sign = found[1]
        return {"≤": "<", "≥": ">", "<=": "<", ">=": ">", "≈": "~"}.get(sign, sign)
    word = WORD_RELATION.search(lead)
    if word is None:
        return "="
    return {"less than": "<", "below": "<", "at most": "<", "about": "~"}.get(word[1].lower(), ">")


def _kind(
    text: str, start: int, end: int, lead: str, *, is_whole: bool, scaled: bool
) -> tuple[NumberKind, tuple[float, ...]]:
    if LEVEL.match(text, end):
        return "level", ()
    if BEFORE_P.search(lead) or BEFORE_P_WORD.search(lead):
        return "p", ()
    statistic = BEFORE_STATISTIC.search(lead)
    if statistic:
        given = re.split(r"[,\s]+", (statistic[2] or statistic[3] or "").strip())
        return "statistic", tuple(
            float(each) for each in given if re.fullmatch(r"\d+(\.\d+)?", each)
        )
    if BEFORE_N.search(lead):
        return "n", ()
    if PERCENT.match(text, end):
        return "percent", ()
    if BEFORE_SD.search(lead):
        return "sd", ()
    if BEFORE_MEAN.search(lead):
        return "mean", ()
    if (is_whole or scaled) and (
        COUNTED.match(text, end) or scaled or re.search(rf"\d[,{SPACES}]\d{{3}}", text[start:end])
    ):
        return "count", ()
    return "value", ()


def _joined(text: str, found: Sequence[PrintedNumber]) -> list[PrintedNumber]:
    """Read what stands between two numbers: spreads, intervals, ranges, "a of b"."""
    made = list(found)
    for i in range(1, len(made)):
        first, second = made[i - 1], made[i]
        gap = text[first.end : second.start]
        if SPREAD_AFTER.fullmatch(gap):
            near = text[max(0, first.start - 80) : second.end + 60]
            kind: NumberKind = (
                "sd"
                if DEVIATION.search(near)
                else "half_width"
                if CONFIDENCE.search(near)
                else "spread"
            )
            percent = first.kind == "percent" or second.kind == "percent"
            made[i - 1] = replace(first, kind="percent" if percent else "mean")
            made[i] = replace(second, kind=kind, belongs_to=first.start)
        elif (of := OF.fullmatch(gap)) and second.kind in ("count", "value", "n"):
            if of["percent"] or (first.kind in ("count", "value") and first.value <= second.value):
                if second.value == int(second.value) and second.value > 0:
                    if not of["percent"]:
                        made[i - 1] = replace(
                            first, kind="count", low=first.value, high=first.value
                        )
                    made[i] = replace(
                        second,
                        kind="n",
                        belongs_to=first.start,
                        low=second.value,
                        high=second.value,
                    )
    return _with_intervals(text, made)


def _with_intervals(text: str, made: list[PrintedNumber]) -> list[PrintedNumber]:
    for i in range(len(made) - 1):
        first, second = made[i], made[i + 1]
        gap = text[first.end : second.start]
        listed = re.fullmatch(r"\s?%?\s?[,;]\s?", gap) is not None
        opened = re.search(r"[\[(]\s?$", text[max(0, first.start - LEAD) : first.start])
        closed = re.match(r"\s?%?\s?[\])]", text[second.end :])
        bracketed = bool(opened and closed)
        if first.kind in ("p", "n", "statistic") or second.kind in ("p", "statistic"):
            continue
        if not (BETWEEN.fullmatch(gap) or (listed and bracketed)):
            continue
        if gap.strip() == "and" and not re.search(
            r"\bbetween\s*$", text[max(0, first.start - LEAD) : first.start]
        ):
            continue
        if (
            listed
            and not (opened and opened[0].strip() == "[")
            and not CONFIDENCE.search(text[max(0, first.start - 40) : first.start])
        ):
            continue
        if first.low > second.high:
            continue
        owner = next((k for k in range(i - 1, -1, -1) if made[k].kind != "level"), None)
        if owner is not None and made[owner].kind not in ("value", "mean", "percent"):
            owner = None
        lead = text[made[owner].end : first.start] if owner is not None else ""
        about = (
            made[owner].start
            if owner is not None
            and INTERVAL_OPEN.fullmatch(lead)
            and (bracketed or CONFIDENCE.search(lead))
            else None
        )
        near = text[max(0, first.start - 40) : first.start]
        is_interval = about is not None or (
            bool(CONFIDENCE.search(near))
            or (bracketed and closed is not None and closed[0].strip()[-1] == "]" and listed)
        )
        kind: NumberKind = "interval" if is_interval else "range"
        if kind == "range" and "percent" in (first.kind, second.kind):
            made[i], made[i + 1] = (replace(each, kind="percent") for each in (first, second))
            continue
        if kind == "range" and first.kind == second.kind == "count":
            continue
        if about is not None and owner is not None and made[owner].kind == "value":
            made[owner] = replace(made[owner], kind="mean")
        made[i] = replace(first, kind=kind, belongs_to=about)
        made[i + 1] = replace(second, kind=kind, belongs_to=about)
    return made
