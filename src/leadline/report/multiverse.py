"""What a page says of a multiverse: its curve, its joint tests, and what each choice is worth.

Universes that differ in choices tagged E alone are tested; over all of them, choices of which one
is better or of which that is unknown among them, the same numbers explore.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from leadline.errors import UserError
from leadline.report.answer import p_text
from leadline.report.figures.specification_curve import specification_curve_figure
from leadline.report.study_figures import Drawn, drawn
from leadline.report.tables import Table, Value
from leadline.stats import metrics
from leadline.stats.choice_effects import (
    ChoiceWorth,
    Share,
    shares_of_spread,
    worth_of_choices,
)
from leadline.stats.specification_curve import SpecificationCurve, specification_curve
from leadline.stats.universes import TAGS, Universe, base_of, equivalent_only

# Analyses that a page applies to the same runs: the test, and what n less this divides variances.
ANALYSES = tuple((test, ddof) for test in ("paired_t", "welch", "student") for ddof in (1, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiverseQuestion:
    """One effect, `arms[0]` less `arms[1]`, and the universes that it was measured in.

    `base` holds the value of each switch where the others are compared with it; `presets` are
    choices by name that are marked on the curve. Effects of two questions never share an axis.
    """

    name: str
    title: str
    arms: tuple[str, str]
    metric: str
    universes: Sequence[Universe]
    tags: Mapping[str, str]
    base: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    direction: int | None = None
    paired: bool = True

    @property
    def scale(self) -> float:
        """Give what differences are multiplied by: hundredths for metrics in points."""
        row = metrics.ROWS.get(self.metric)
        return 100.0 if row is not None and row.in_points else 1.0

    @property
    def unit(self) -> str:
        """Name what differences are told in."""
        return "points" if self.scale == 100 else metrics.title(self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiverseAnswer:
    """The curves of one question: over equivalent choices alone (None if there are none), over all.

    `by_universe` is that of all with a vote for each analysis of the same runs instead of one for
    each training; None where there are no analyses.
    """

    question: MultiverseQuestion
    equivalent: SpecificationCurve | None
    every: SpecificationCurve
    by_universe: SpecificationCurve | None
    worth: Sequence[ChoiceWorth]
    shares: Sequence[Share]

    @property
    def leading(self) -> SpecificationCurve:
        """Give the curve whose p may be read as a test, if there is one."""
        return self.equivalent or self.every


def answered(question: MultiverseQuestion, seed: int = 1) -> MultiverseAnswer:
    """Test a question in its universes; equal questions get equal answers.

    Raises
    ------
    UserError
        When an effect is undefined in a universe, or universes cannot stand on one axis.
    """
    universes = list(question.universes)
    base = {**base_of(universes), **question.base} if universes else {}

    def curve(chosen: Sequence[Universe], *, training: bool = True) -> SpecificationCurve:
        return specification_curve(
            chosen,
            rng=np.random.default_rng(seed),
            paired=question.paired,
            direction=direction,
            one_vote_per_training=training,
            arms=question.arms,
        )

    direction = question.direction or 1
    every = curve(universes)
    if question.direction is None:
        direction = _direction(every, base)
        every = replace(curve(universes), direction=direction)
    chosen = equivalent_only(universes, question.tags, base)
    varies = any(each.choices != chosen[0].choices for each in chosen)
    trained = _trained(universes)
    switches = any(each.choices != trained[0].choices for each in trained)
    return MultiverseAnswer(
        question=replace(question, base=base, direction=direction),
        equivalent=curve(chosen) if varies else None,
        every=every,
        by_universe=curve(universes, training=False)
        if any(each.analysis for each in universes)
        else None,
        worth=worth_of_choices(trained, base=base) if switches else (),
        shares=shares_of_spread(trained, np.random.default_rng(seed)),
    )


def _direction(every: SpecificationCurve, base: Mapping[str, str]) -> int:
    """Name the direction: that of the universe with every base value, else that of the median."""
    for each, estimate in zip(every.universes, every.estimates, strict=True):
        if all(each.choices.get(switch, value) == value for switch, value in base.items()):
            return 1 if estimate >= 0 else -1
    return 1 if every.tests["median"].value >= 0 else -1


def _trained(universes: Sequence[Universe]) -> list[Universe]:
    """Give one universe for each training: an analysis of the same runs moves no score."""
    first = {each.training: each for each in reversed(universes)}
    return [
        replace(each, choices={k: v for k, v in each.choices.items() if k not in each.analysis})
        for each in reversed(first.values())
    ]


def with_analyses(universes: Sequence[Universe]) -> list[Universe]:
    """Apply every analysis to the runs of each universe; none of them trains anything."""
    return [
        replace(
            each,
            choices={**each.choices, "test": test, "ddof": str(ddof)},
            test=test,
            ddof=ddof,
            analysis=("test", "ddof"),
        )
        for each in universes
        for test, ddof in ANALYSES
    ]


def sentence(answer: MultiverseAnswer) -> str:
    """Say in words what the universes say together, and what they cannot."""
    question, curve = answer.question, answer.leading
    a, b = question.arms
    median = curve.tests["median"].value * question.scale
    said = [
        f"{a} less {b}, {metrics.title(question.metric)}: median {median:+.2f} {question.unit} "
        f"over {curve.estimates.size} universes"
    ]
    if answer.equivalent is None:
        said[0] += ", none of which differ in equivalent choices alone: this explores"
    else:
        said[0] += " that differ in equivalent choices alone"
    seeds = min(map(len, curve.seeds))
    if not curve.can_tell:
        said.append(
            f"no effect can be shown by {seeds} seeds: the least p that they can give is "
            f"{curve.smallest_p:.2g}"
        )
    else:
        p = ", ".join(f"{test.name} {p_text(test.p)}" for test in curve.tests.values())
        said.append(f"together {p} (at the least {curve.smallest_p:.2g})")
    way = "above" if (question.direction or 1) > 0 else "below"
    said.append(
        f"that {a} is {way} {b} stands in {curve.stands} of {curve.estimates.size} with "
        "family-wise control"
    )
    if answer.every.coverage < 1:
        said.append(
            f"{answer.every.coverage:.0%} of the runs have partners in every universe; the others "
            "are left out, nothing is imputed"
        )
    return "; ".join(said) + "."


def tables_of(answer: MultiverseAnswer) -> list[Table]:
    """Give the joint tests, what each choice is worth, and every universe."""
    return [_joint_table(answer), _choices_table(answer), _universes_table(answer)]


def _curves(answer: MultiverseAnswer) -> Iterator[tuple[str, str, SpecificationCurve]]:
    votes = "one for each training" if answer.by_universe else "one for each universe"
    if answer.equivalent is not None:
        yield "equivalent choices alone", votes, answer.equivalent
    yield "all choices (explores)", votes, answer.every
    if answer.by_universe is not None:
        yield "all choices (explores)", "one for each universe", answer.by_universe


def _joint_table(answer: MultiverseAnswer) -> Table:
    question = answer.question
    rows: list[list[Value]] = []
    for which, votes, curve in _curves(answer):
        scales = {"median": question.scale}
        rows += [
            [
                which,
                curve.estimates.size,
                votes,
                test.name,
                test.value * scales.get(name, 1.0),
                test.p,
                curve.smallest_p,
                curve.stands,
                f"{curve.coverage:.0%}",
            ]
            for name, test in curve.tests.items()
        ]
    last = answer.every
    how = "exchanging the arms of a seed" if last.paired else "permuting the labels of arms"
    count = f"all {last.resamples:,}" if last.exact else f"{last.resamples:,} drawn"
    direction = "above" if (question.direction or 1) > 0 else "below"
    return Table(
        name=f"{question.name}_joint",
        title=f"{question.title}: all universes together",
        columns=["universes that differ in", "universes", "votes", "statistic", "value", "p",
                 "least p", "stand family-wise", "coverage"],
        rows=rows,
        notes=[
            f"p is two-sided, by {how} in all universes at once ({count} exchanges); medians are "
            f"in {question.unit}. The direction named is {question.arms[0]} {direction} "
            f"{question.arms[1]}. Median, share and Stouffer’s Z ask whether any universe has an "
            "effect; only the largest |t|, and the count that stands family-wise, say which.",
            "Only choices that any reasonable person might take either way make a test; with the "
            "others the same numbers explore, and their p must not be quoted as one.",
        ],
    )  # fmt: skip


def _choices_table(answer: MultiverseAnswer) -> Table:
    question = answer.question
    by_switch: dict[tuple[str, ...], list[ChoiceWorth]] = {}
    for each in answer.worth:
        by_switch.setdefault((each.switch,), []).append(each)
    rows: list[list[Value]] = []
    for share in answer.shares:
        net = share.net
        carried: list[Value] = [
            " × ".join(share.what),
            _tag(share.what, question.tags),
            share.eta2,
            "0 (clamped)" if share.clamped else net,
            share.shapley,
            share.interval.low,
            share.interval.high,
        ]
        points = [_points(each, question.scale) for each in by_switch.get(share.what, ())]
        rows += [[*carried, *cells] for cells in points or [[None] * 6]]
    many = sum(each.estimate is not None for each in answer.worth)
    return Table(
        name=f"{question.name}_choices",
        title=f"{question.title}: where the spread comes from",
        columns=["source", "kind", "eta²", "net", "Shapley", "95 % from", "95 % to", "value",
                 "against", question.unit, "from", "to", "verdict"],
        rows=rows,
        notes=[
            "eta² is the share of the variance over universes and seeds that a source carries "
            "alone, a pair what it adds to both of its switches; its interval resamples seeds. Net "
            "of what noise would give it a share may fall below 0: it is clamped there. Shapley: "
            "what a source adds, averaged over all orders.",
            f"{question.unit[0].upper()}{question.unit[1:]} say what a value adds to the effect, "
            "averaged over the other "
            f"switches; the intervals of all {many} hold at once with 95 %.",
        ],
    )  # fmt: skip


def _points(each: ChoiceWorth, scale: float) -> list[Value]:
    if each.estimate is None or each.interval is None:
        return [each.value, each.against, None, None, None, "the design cannot tell"]
    ends = each.interval.low * scale, each.interval.high * scale
    verdict = "moves the effect" if each.shown else "not shown"
    return [each.value, each.against, each.estimate * scale, *ends, verdict]


def _tag(what: tuple[str, ...], tags: Mapping[str, str]) -> str:
    if len(what) > 1 or what[0] not in tags:
        return ""
    return TAGS[tags[what[0]]]


def _universes_table(answer: MultiverseAnswer) -> Table:
    question, curve = answer.question, answer.every
    switches = list(dict.fromkeys(s for each in curve.universes for s in each.choices))
    marks = {at: name for name, at in presets_of(answer).items()}
    rows: list[list[Value]] = [
        [
            rank,
            *(curve.universes[at].choices.get(switch) for switch in switches),
            *(float(v[at]) * question.scale for v in (curve.estimates, curve.low, curve.high)),
            float(curve.p[at]),
            float(curve.p_family[at]),
            float(curve.votes[at]),
            marks.get(at),
        ]
        for rank, at in enumerate(np.argsort(curve.estimates, kind="stable").tolist(), start=1)
    ]
    return Table(
        name=f"{question.name}_universes",
        title=f"{question.title}: every universe",
        columns=["rank", *switches, question.unit, "95 % from", "95 % to", "p", "p (family)",
                 "vote", "preset"],
        rows=rows,
        notes=["The figure above in numbers, sorted by estimate."],
    )  # fmt: skip


def presets_of(answer: MultiverseAnswer) -> dict[str, int]:
    """Find the universes of the presets: those that agree with one in every choice that varies."""
    found = {}
    for name, values in answer.question.presets.items():
        for at, each in enumerate(answer.every.universes):
            trained = dict(each.training)
            if all(str(values.get(switch, value)) == value for switch, value in trained.items()):
                found[name] = at
                break
    return found


def draw_answers(answers: Sequence[MultiverseAnswer]) -> tuple[list[Drawn], dict[str, str]]:
    """Draw the curve of each answer, for wide windows and for phones."""
    return drawn(
        {
            f"{answer.question.name}_curve": partial(
                specification_curve_figure,
                answer.every,
                answer.question.tags,
                axis=f"{answer.question.arms[0]} less {answer.question.arms[1]}",
                presets=presets_of(answer),
                title=answer.question.title,
            )
            for answer in answers
        }
    )


def answers_of(
    questions: Sequence[MultiverseQuestion],
) -> tuple[list[MultiverseAnswer], dict[str, str]]:
    """Answer what can be answered; give the others' reasons by name."""
    answers, refused = [], {}
    for question in questions:
        try:
            answers.append(answered(question))
        except UserError as error:
            refused[f"{question.name}_curve"] = str(error)
    return answers, refused
