"""Arithmetic on the numbers of one sentence or row: tests, intervals, shares of counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import scipy.stats

from leadline.papers.drafts.numbers import PrintedNumber

Disagreement = tuple[str, tuple[PrintedNumber, ...]]
# A count that must be whole is told from its share only if a step is wider than the rounding.
MOST_FOR_GRIM = 1_000_000


def p_of_statistic(numbers: Sequence[PrintedNumber]) -> Iterator[Disagreement]:
    """Check a p against the statistic with degrees of freedom that stands before it.

    One-sided p are granted where a t fits half of the two-sided.
    """
    for statistic, p in zip(numbers, numbers[1:], strict=False):
        if statistic.kind != "statistic" or p.kind != "p" or not statistic.degrees:
            continue
        if p.start - statistic.end > 40:
            continue
        ends = [_tail(abs(x), statistic.degrees) for x in (statistic.low, statistic.high)]
        if statistic.low <= 0 <= statistic.high:
            ends.append(1.0)
        low, high = min(ends), max(ends)
        halves = (low / 2, high / 2) if len(statistic.degrees) == 1 else (low, high)
        if not (_overlap(p, low, high) or _overlap(p, *halves)):
            told = f"{low:.2g} to {high:.2g}" if f"{low:.2g}" != f"{high:.2g}" else f"{low:.2g}"
            degrees = ", ".join(f"{each:g}" for each in statistic.degrees)
            said = f"{statistic.text} with {degrees} degrees of freedom has p {told}, not {p.text}"
            yield said, (statistic, p)


def _tail(value: float, degrees: Sequence[float]) -> float:
    if len(degrees) == 2:
        return float(scipy.stats.f.sf(value, *degrees))
    return float(2 * scipy.stats.t.sf(value, degrees[0]))


def _overlap(p: PrintedNumber, low: float, high: float) -> bool:
    return low <= p.high + 1e-12 and high >= p.low - 1e-12


def interval_without_mean(numbers: Sequence[PrintedNumber]) -> Iterator[Disagreement]:
    """Find intervals that do not hold their own mean, or whose ends are in the wrong order."""
    for first, second in zip(numbers, numbers[1:], strict=False):
        if first.kind != "interval" or second.kind != "interval":
            continue
        if first.belongs_to != second.belongs_to:
            continue
        mean = next((each for each in numbers if each.start == first.belongs_to), None)
        if mean is not None and (mean.high < first.low or mean.low > second.high):
            said = f"{mean.text} lies outside its interval {first.text} to {second.text}"
            yield said, (mean, first, second)


def interval_of_sd(numbers: Sequence[PrintedNumber]) -> Iterator[Disagreement]:
    """Check a 95 % interval of a mean against the standard deviation and n of the same sentence.

    Student's and the normal interval are both granted.
    """
    sds = [each for each in numbers if each.kind == "sd"]
    sizes = [each for each in numbers if each.kind == "n" and each.belongs_to is None]
    ends = [each for each in numbers if each.kind == "interval"]
    levels = [each for each in numbers if each.kind == "level"]
    if len(sds) != 1 or len(sizes) != 1 or len(ends) != 2 or sizes[0].value < 2:
        return
    if any(each.value != 95 for each in levels):
        return
    sd, n = sds[0], sizes[0].value
    narrow, wide = 1.96, float(scipy.stats.t.ppf(0.975, n - 1))
    low = narrow * sd.low / math.sqrt(n)
    high = wide * sd.high / math.sqrt(n)
    half = ((ends[1].low - ends[0].high) / 2, (ends[1].high - ends[0].low) / 2)
    if half[0] > high * (1 + 1e-9) or half[1] < low * (1 - 1e-9):
        said = (
            f"an sd of {sd.text} over {n:g} gives ± {low:.3g} to {high:.3g}, the interval "
            f"{ends[0].text} to {ends[1].text} is ± {sum(half) / 2:.3g}"
        )
        yield said, (sd, sizes[0], *ends)


def grim(numbers: Sequence[PrintedNumber]) -> Iterator[Disagreement]:
    """Find percentages of a count that no whole number of it rounds to."""
    for whole in numbers:
        if whole.kind != "n" or whole.belongs_to is None:
            continue
        share = next((each for each in numbers if each.start == whole.belongs_to), None)
        if share is None or share.kind != "percent" or share.relation not in "=":
            continue
        if found := no_whole_number(share, whole.value):
            yield found, (share, whole)


def no_whole_number(share: PrintedNumber, n: float) -> str:
    """Say that no k of n gives a printed share, or nothing."""
    if not 1 <= n <= MOST_FOR_GRIM:
        return ""
    by = 100.0 if share.kind == "percent" else 1.0
    low, high = share.low / by * n, share.high / by * n
    if math.ceil(low - 1e-9) <= high + 1e-9:
        return ""
    nearest = round(share.value / by * n)
    decimals = len(share.text.rstrip("% ").partition(".")[2])
    printed = f"{by * nearest / n:.{decimals}f}"
    return f"{share.text} of {n:g} is no whole number: {nearest} would be {printed}"


def share_of_count(text: str, numbers: Sequence[PrintedNumber]) -> Iterator[Disagreement]:
    """Check "a of b (c %)" and "c % (a of b)"."""
    for whole in numbers:
        if whole.kind != "n" or whole.belongs_to is None:
            continue
        part = next((each for each in numbers if each.start == whole.belongs_to), None)
        if part is None or part.kind != "count" or whole.value == 0:
            continue
        for share in numbers:
            if share.kind != "percent" or share.relation != "=":
                continue
            after = re.fullmatch(r"[\w\s]{0,30}[(\[,;:]\s*", text[whole.end : share.start])
            before = re.fullmatch(r"\s?%\s*[(\[,;:]\s*(?:n\s*=\s*)?", text[share.end : part.start])
            if not (after or before):
                continue
            exact = 100 * part.value / whole.value
            if not share.low - 1e-9 <= exact <= share.high + 1e-9:
                said = f"{part.text} of {whole.text} is {exact:.4g} %, not {share.text} %"
                yield said, (part, whole, share)


def p_of_two_means(
    a: PrintedNumber,
    spread_a: PrintedNumber,
    b: PrintedNumber,
    spread_b: PrintedNumber,
    n: int,
    spread: str,
) -> tuple[float, float]:
    """Bound the two-sided p of two means over n runs each, over all roundings and conventions.

    Student's and Welch's test are granted, intervals by t or the normal distribution, and either
    standard deviation. `spread` says whether the numbers after ± are sd or half_width.
    """
    farthest = max(a.high - b.low, b.high - a.low)
    nearest = max(0.0, a.low - b.high, b.low - a.high)
    errors = [_errors(each, n, spread) for each in (spread_a, spread_b)]
    least = math.hypot(*(low for low, _ in errors))
    most = math.hypot(*(high for _, high in errors))
    low = 0.0 if least == 0 else float(2 * scipy.stats.t.sf(farthest / least, 2 * n - 2))
    high = 1.0 if most == 0 else float(2 * scipy.stats.t.sf(nearest / most, n - 1))
    return low, high


def _errors(spread: PrintedNumber, n: int, kind: str) -> tuple[float, float]:
    """Bound the standard error of a mean."""
    biased = math.sqrt(n / (n - 1))
    if kind == "sd":
        return max(spread.low, 0) / math.sqrt(n), spread.high * biased / math.sqrt(n)
    quantile = float(scipy.stats.t.ppf(0.975, n - 1))
    return max(spread.low, 0) / quantile, spread.high * biased / 1.96
