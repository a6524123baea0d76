"""Words by which a sentence compares, and what criterion of a claim they come to."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Regular expressions by sense, without regard to case; each stands between the bounds of words.
WORDS = {
    # The first named does better than the second.
    "better": (
        r"outperform\w*", r"surpass\w*", r"beats?", r"exceed\w*", r"excel\w*", r"wins?",
        r"(?:better|higher|superior|more accurate|greater)\b[^.;,]{0,40}\b(?:than|to)",
        r"ahead of", r"improve[sd]? (?:on|over|upon)",
    ),
    # The first named does worse.
    "worse": (
        r"underperform\w*", r"lag\w* behind", r"behind", r"f[ae]lls? (?:behind|short)",
        r"(?:worse|lower|inferior|less accurate|poorer)\b[^.;,]{0,40}\b(?:than|to)",
    ),
    "drops": (
        r"drop(?:s|ped)?", r"decreas\w+", r"declin\w+", r"reduc(?:e[sd]?|ing|tion)", r"degrad\w+",
        r"deteriorat\w+", r"loses?", r"lost", r"worsen\w*", r"fell", r"harm\w*",
    ),
    "rises": (
        r"increas\w+", r"improv\w+", r"gain(?:s|ed)?", r"ris(?:es?|ing)", r"rose", r"boost\w*",
        r"benefi\w+", r"widen\w*", r"shrinks?",
    ),
    "same": (
        r"comparabl[ey]", r"similar(?:ly)?", r"on par", r"competitive", r"match(?:es|ed)",
        r"equal(?:ly)?", r"equivalent", r"identical(?:ly)?", r"the same", r"no difference",
        r"draws? level", r"as (?:well|good|accurate\w*) as", r"neck and neck", r"no worse",
        r"(?:are|is|were|was|come|came|stay\w*) close",
    ),
    "not_significant": (
        r"(?:not|no|none|nor|neither|without|never)\b[^.;]{0,60}\bsignifican\w+",
        r"insignifican\w+",
        r"(?:not|no)\b[^.;,]{0,30}\b(?:affect\w*|effect|meaningful\w*|matter\w*)",
    ),
    "differs": (
        r"differ(?:s|ed|ently|ences?)?", r"var(?:y|ies|ied)", r"fluctuat\w+", r"spread\w*",
        r"compared (?:to|with)", r"versus", r"more", r"less", r"fewer", r"larger", r"smaller",
        r"greater", r"higher", r"lower", r"better", r"worse", r"faster", r"slower", r"longer",
        r"shorter", r"best", r"worst", r"most", r"fewest", r"highest", r"lowest", r"least",
        r"largest", r"smallest", r"fastest", r"significant(?:ly)?", r"unlike", r"remain(?:s|ed)?",
    ),
}  # fmt: skip
PATTERNS = {
    sense: re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)
    for sense, words in WORDS.items()
}
PASSIVE = re.compile(r"\s+by\b", re.IGNORECASE)
NEGATED = re.compile(
    r"\b(?:not|no|never|nor|neither|cannot|fail(?:s|ed)? to|hardly)\b[^.;,]{0,25}$", re.I
)
SIGNIFICANT = re.compile(r"\bsignifican\w+", re.IGNORECASE)
# Words about where, not how: "the most common bin", "best validation accuracy" compare nothing.
COMMON_PHRASES = re.compile(
    r"\b(?:similar(?:ly)?(?:,| to (?:results|previous|prior|earlier|our|the strategy))|"
    r"(?:come to |reach(?:ed)? )?the same (?:conclusions?|way|time|as they)|"
    r"at (?:most|least)|most (?:of|commonly used|recent\w*)|more (?:details|information)|"
    r"random(?:ly)? seeds? (?:that )?differ|further(?:more)?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonWord:
    """A word that compares: its sense, and where it stands."""

    sense: str
    start: int
    end: int
    is_negated: bool
    is_passive: bool


def comparison_words(text: str) -> list[ComparisonWord]:
    """Find what compares in a text, in its order; senses that overlap count by the first listed."""
    plain = COMMON_PHRASES.sub(lambda found: " " * len(found[0]), text)
    found: list[ComparisonWord] = []
    for sense in ("not_significant", "better", "worse", "same", "drops", "rises", "differs"):
        for each in PATTERNS[sense].finditer(plain):
            if any(each.start() < other.end and each.end() > other.start for other in found):
                continue
            found.append(
                ComparisonWord(
                    sense=sense,
                    start=each.start(),
                    end=each.end(),
                    is_negated=NEGATED.search(plain[: each.start()]) is not None,
                    is_passive=PASSIVE.match(plain, each.end()) is not None,
                )
            )
    return sorted(found, key=lambda each: each.start)


def criterion_of(text: str, words: list[ComparisonWord]) -> str:
    """Choose the criterion that the words come to; none where they contradict or are negated."""
    senses = {each.sense for each in words} - {"differs"}
    if "not_significant" in senses:
        return "not_significant"
    decisive = senses & {"better", "worse", "drops", "same"}
    if decisive & {"better", "worse"}:
        # "ahead of it, the more so with decreasing numbers of labels" compares once.
        decisive -= {"drops"}
    if len(decisive) != 1 or any(each.is_negated for each in words if each.sense in decisive):
        return ""
    if decisive == {"same"}:
        return "gap_within"
    return "significantly_below" if SIGNIFICANT.search(text) else "below"
