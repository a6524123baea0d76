"""The answer of a study: at most 25 words, and a line that says for what it holds and how sure.

Names are titles as people say them; numbers are differences of the first metric with all labels.
Tests and p stand in the table of verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from leadline.config import registry
from leadline.report.compare.arms import ArmRuns, sides_of
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.study import leading
from leadline.report.study import StudyResults
from leadline.stats import metrics

MOST_WORDS = 25
UNDECIDED = ("open", "untested")
Comparisons = Sequence[ArmComparison]


def answer(study: StudyResults, found: Comparisons) -> str:
    """Answer in at most 25 words; a second line says for what that holds."""
    first = leading(found)
    if not first:
        return _best(study)
    return f"{spoken(study, first)}\n{basis(first)}"


def spoken(study: StudyResults, first: Comparisons) -> str:
    """Say what is shown, then what cannot be told; as many arms by name as 25 words hold."""
    ranked = _by_weight(first)
    for named in range(len(ranked), -1, -1):
        text = " ".join(_sentences(study, ranked[:named], ranked[named:]))
        if len(text.split()) <= MOST_WORDS:
            return text
    return text


def _by_weight(first: Comparisons) -> list[ArmComparison]:
    """Order comparisons by what a reader would miss most: findings, two open ones, controls."""
    shown = [each for each in first if each.verdict not in UNDECIDED]
    open_ = [each for each in first if each.verdict in UNDECIDED]
    open_.sort(key=is_control)
    models = [each for each in shown if not is_control(each)]
    return [*models, *open_[:2], *filter(is_control, shown), *open_[2:]]


def is_control(each: ArmComparison) -> bool:
    """Say whether an arm is a control, which stands last."""
    return registry.named(each.a.model).family == "control"


def _sentences(study: StudyResults, kept: Comparisons, rest: Comparisons) -> list[str]:
    """Speak of each kind of verdict: arms of `kept` by name, those of `rest` as a number."""
    said = []
    shown = [each for each in (*kept, *rest) if each.verdict not in UNDECIDED]
    # That a control is behind is no news: it stands after what cannot be told.
    order = SPOKEN if any(not is_control(each) for each in shown) else SPOKEN[::-1]
    for verdicts, speak in order:
        named = [each for each in kept if each.verdict in verdicts]
        more = [each for each in rest if each.verdict in verdicts]
        if named or more:
            said.append(speak(study, named, more))
    return said


def _led(study: StudyResults, named: Comparisons, more: Comparisons, word: str) -> str:
    """Say which arms are ahead or behind, and by how much."""
    reference = title_of(study, (*named, *more)[0].b)
    if len(named) == 1 and not more:
        (each,) = named
        return f"{capitalised(title_of(study, each.a))} is {word} {reference} by {size(each)}."
    names = [f"{_named(study, each, reference)} ({_bare(each)})" for each in named]
    verb = "is" if len(named) + len(more) == 1 else "are"
    return f"{capitalised(_with_more(names, more))} {verb} {word} {reference}."


def _ahead(study: StudyResults, named: Comparisons, more: Comparisons) -> str:
    return _led(study, named, more, "ahead of")


def _behind(study: StudyResults, named: Comparisons, more: Comparisons) -> str:
    return _led(study, named, more, "behind")


def _equal(study: StudyResults, named: Comparisons, more: Comparisons) -> str:
    first = (*named, *more)[0]
    reference, margin = title_of(study, first.b), first.equivalence
    assert margin is not None
    names = _with_more([_named(study, each, reference) for each in named], more)
    verb = "equals" if len(named) + len(more) == 1 else "equal"
    within = scaled(margin.margin, first.a.metric)[1:]
    return f"{capitalised(names)} {verb} {reference} within {within}."


def _undecided(study: StudyResults, named: Comparisons, more: Comparisons) -> str:
    """Say from which arms these cells and runs cannot tell the reference."""
    every = (*named, *more)
    reference = title_of(study, every[0].b)
    names = _with_more([_named(study, each, reference) for each in named], more)
    return f"{material(every)} cannot tell {reference} from {names}."


# How each verdict is spoken of, in this order where more than controls is shown.
SPOKEN = (
    (("better",), _ahead),
    (("worse",), _behind),
    (("equivalent",), _equal),
    (UNDECIDED, _undecided),
)


def _with_more(names: Sequence[str], more: Comparisons) -> str:
    """List names, and count those that have no room."""
    if not more:
        return listed(names)
    arms = "arm" if len(more) == 1 else "arms"
    return listed([*names, f"{len(more)} more" if names else f"{len(more)} {arms}"])


def _named(study: StudyResults, each: ArmComparison, reference: str) -> str:
    """Name an arm, and what it is measured against if that is not the sentence's reference."""
    name, other = title_of(study, each.a), title_of(study, each.b)
    return name if other == reference else f"{name} (against {other})"


def basis(first: Comparisons) -> str:
    """Say of which metric and cells an answer is, for what it speaks, and how sure it is."""
    place = first[0].a
    labels = "all labels" if place.fraction == 1 else f"{place.fraction:.0%} of the labels"
    tested = [each for each in first if each.corrected is not None]
    of = f"{capitalised(metrics.title(place.metric))} with {labels} of {spaced(place.dataset)}"
    if not tested:
        return f"{of}; {material(first)}; nothing could be tested: {first[0].why}."
    for_what = listed(dict.fromkeys(f"{each.speaks_for}{_held_out(each)}" for each in tested))
    count = tested[0].family_size
    corrected = f", corrected for {count} comparisons" if count > 1 else ""
    return (
        f"{of}; {material(first)}; each statement is 95 % sure for {for_what}{corrected}"
        f"{_of_these(tested)}."
    )


def _held_out(each: ArmComparison) -> str:
    """Count the donors that were held out, where they are known."""
    if each.parts is None or not each.parts.donors:
        return ""
    return f" ({each.parts.donors} held out)"


def _of_these(found: Comparisons) -> str:
    """Give what can be said of the donors that are there, where fresh ones cannot be spoken for."""
    for each in found:
        if each.cannot_tell and each.of_these_donors is not None and each.parts is not None:
            low, high = (scaled(end, each.a.metric) for end in each.of_these_donors)
            return (
                f"; for fresh donors it cannot be told from {each.parts.donors}; of these donors, "
                f"95 % interval {low} to {high}"
            )
    return ""


def material(found: Comparisons) -> str:
    """Count the held-out cells and the runs of an arm that comparisons rest on."""
    cells = max(int(each.a.records[0]["split"]["cells"]["test"]) for each in found)
    runs = sorted({side.values.size for each in found for side in (each.a, each.b)})
    many = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    return f"{cells:,} cells and {many} run{'s' if runs[-1] > 1 else ''}"


def title_of(study: StudyResults, side: ArmRuns) -> str:
    """Name an arm as people do: the study's title for it, its model's, or its name in words."""
    if side.arm in study.titles:
        return study.titles[side.arm]
    row = registry.named(side.model)
    if side.arm == side.model or (side.arm == study.reference and side.arm == "reference"):
        return row.title
    if side.arm.startswith(f"{side.model}_") and side.model != row.title:
        # scbert_pretrained, where people write scBERT pretrained.
        return spaced(f"{row.title}{side.arm.removeprefix(side.model)}")
    return spaced(side.arm)


def spaced(name: str) -> str:
    """Write a name of ours as words."""
    return name.replace("_", " ")


def capitalised(text: str) -> str:
    """Begin a sentence, unless with a name that has its own capitals."""
    first = text.split(" ", 1)[0]
    return text if any(letter.isupper() for letter in first) else text[:1].upper() + text[1:]


def listed(names: Iterable[str], last: str = "and") -> str:
    """List names as a sentence does."""
    every = list(names)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} {last} {every[-1]}"


def _bare(each: ArmComparison) -> str:
    return scaled(each.estimate, each.a.metric)


def size(each: ArmComparison) -> str:
    """Write the size of a difference."""
    return scaled(abs(each.estimate), each.a.metric)[1:]


def of_donors(each: ArmComparison) -> str:
    """Say which donors a comparison speaks for, where records tell of them."""
    which = donors_spoken_for(each)
    count = each.parts.donors if each.parts is not None else 0
    if each.cannot_tell:
        return f"; for fresh donors it cannot be told from {count}"
    return f"; of {which}{f', {count} held out' if count else ''}" if which else ""


def donors_spoken_for(each: ArmComparison) -> str:
    """Give "fresh donors", "these donors" or "this donor"; nothing where none are known."""
    return each.speaks_for.partition("fresh cells of ")[2]


def scaled(value: float, metric: str) -> str:
    """Write a difference with its sign: in points where scores lie between 0 and 1."""
    if metric not in metrics.ROWS or not metrics.ROWS[metric].in_points:
        return f"{value:+.3f}".replace("-", "−")
    return f"{100 * value:+.1f} points".replace("-", "−")


def p_text(p: float) -> str:
    """Write a p-value."""
    return "p < .001" if p < 0.001 else f"p = {p:.2g}".replace("0.", ".")


def _best(study: StudyResults) -> str:
    """Say which arm is highest where nothing was asked to be compared."""
    sides = sides_of(study, study.metrics[0])
    if not sides:
        return "No run has named classes yet."
    dataset = sides[0].dataset
    most = max(side.fraction for side in sides if side.dataset == dataset)
    here = [side for side in sides if (side.dataset, side.fraction) == (dataset, most)]
    best = max(here, key=lambda side: side.mean)
    count = f"{best.values.size} run{'s' if best.values.size > 1 else ''}"
    return (
        f"The highest mean {metrics.title(best.metric)} is {best.mean:.3f}, by "
        f"{title_of(study, best)}.\nWith {most:.0%} of the labels of {spaced(dataset)}; {count}, "
        f"{len(here)} arm{'s' if len(here) > 1 else ''}; no pair of arms was declared to be "
        "compared."
    )


def by_verdict(said: Mapping[str, Iterable[str]]) -> str:
    """Say what is shown of whom, in at most 25 words: `said` has names by the words before them.

    Examples
    --------
    >>> by_verdict({"Pretraining helps": ["scBERT"], "Not shown to help": []})
    'Pretraining helps scBERT.'
    """
    told = {words: list(dict.fromkeys(names)) for words, names in said.items()}
    told = {words: names for words, names in told.items() if names}
    for most in (9, 3, 2, 1):
        text = " ".join(f"{words} {_at_most(names, most)}." for words, names in told.items())
        if len(text.split()) <= MOST_WORDS:
            break
    return text


def _at_most(names: Sequence[str], most: int) -> str:
    rest = len(names) - most
    return listed([*names[:most], f"{rest} more"] if rest > 0 else names)
