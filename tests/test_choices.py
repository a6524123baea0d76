"""The key `choices` of a study: what it may say, which runs it makes, what is refused."""

import json
import random
from collections import Counter

import pytest

from leadline.cli import main
from leadline.config.shipped import studies
from leadline.errors import UserError
from leadline.studies import expand, manifest, name_runs, read
from leadline.studies.schema import parse_study

SMALL = {
    "question": "Is it better than guessing?",
    "base": {"data": "pbmc68k_reduced"},
    "arms": {
        "reference": {"model": "logreg", "model.C": 0.1},
        "centroid": {"model": "nearest_centroid"},
    },
    "grid": {"seed": [1, 2], "data.fraction": [0.2]},
}
VARY = {"few_labels": ["nested", "plain"], "baseline_class_weights": "all", "ddof": [0, 1]}


def study(vary=None, **more):
    """Give a study with choices; `arms`, `grid`, `base` and `pretraining` go to its top."""
    top = {key: more.pop(key) for key in ("arms", "grid", "base", "pretraining") if key in more}
    return parse_study("small", {**SMALL, **top, "choices": {"vary": vary or VARY, **more}})


def test_each_universe_has_the_runs_of_both_arms_and_every_seed():
    plan = expand(study())
    universes = [json.dumps(run.choices, sort_keys=True) for run in plan.runs]
    assert list(Counter(universes).values()) == [4, 4, 4]
    # One universe after the other, and in each one seed after the other.
    assert [(run.arm, run.settings["seed"]) for run in plan.runs[:4]] == [
        ("reference", 1),
        ("centroid", 1),
        ("reference", 2),
        ("centroid", 2),
    ]
    first = plan.runs[0]
    assert first.choices == {"few_labels": "nested", "baseline_class_weights": "none"}
    assert first.settings["protocol.fewshot"] == "stratified_nested"
    # A switch of logistic regression changes nothing in another model.
    centroid = [run for run in plan.runs if run.arm == "centroid"]
    assert not any("model.class_weight" in run.settings for run in centroid)


def test_a_run_that_universes_share_is_made_once_and_stands_in_each():
    plan = expand(study())
    runs = name_runs(plan)
    # logreg: three universes; centroid: two, for weights of logistic regression do not concern it.
    assert len(runs) == 2 * 3 + 2 * 2
    told = manifest.content(plan, runs)
    assert len(told["runs"]) == len(plan.runs) == 12
    assert told["choices"] | {"impossible": []} == told["choices"]
    assert (told["choices"]["universes"], told["choices"]["design"]) == (3, "one_at_a_time")
    assert told["choices"]["analysis"] == {"ddof": ["0", "1"]}
    assert told["choices"]["tags"]["few_labels"] == "E"
    for run in told["runs"]:
        assert set(run["choices"]) == {"few_labels", "baseline_class_weights"}
        # Nothing of it is told to the run itself.
        assert not any("choices" in word or "few_labels" in word for word in run["overrides"])


def test_choices_are_not_part_of_a_run_s_id():
    plain = {run.run_id for run in name_runs(expand(parse_study("small", SMALL)))}
    assert plain < {run.run_id for run in name_runs(expand(study()))}
    told = manifest.content(expand(parse_study("small", SMALL)), [])
    assert "choices" not in told


def test_only_switches_of_the_analysis_make_no_further_run():
    plan = expand(study({"ddof": [0, 1], "test": "all"}))
    assert len(plan.runs) == 4 and all(run.choices == {} for run in plan.runs)


def test_words_choose_seeds_and_settings_as_ever():
    plan = expand(study(), ["seed=7", "train.threads=1"])
    assert {run.settings["seed"] for run in plan.runs} == {7} and len(plan.runs) == 6


def test_a_budget_and_what_cannot_be():
    vary = {"few_labels": "all", "baseline_class_weights": "all", "solver": "all"}
    impossible = [{"few_labels": ["plain_stream"], "solver": "liblinear"}]
    plan = expand(study(vary, design="budget=8", impossible=impossible, seed=4))
    found = {json.dumps(run.choices, sort_keys=True) for run in plan.runs}
    assert len(found) == 8
    assert not any("plain_stream" in each and "liblinear" in each for each in found)


def test_a_sweep_that_is_killed_leaves_balanced_universes():
    vary = {
        "few_labels": ["nested", "stratified", "plain"],
        "baseline_class_weights": "all",
        "baseline_input": "all",
    }
    plan = expand(study(vary, design="budget=12"))
    runs = name_runs(plan)
    entries = manifest.content(plan, runs)["runs"]
    chance = random.Random(1)
    for stop in [chance.randrange(1, len(runs)) for _ in range(10)]:
        done = {run.run_id for run in runs[:stop]}
        for begun in (True, False):
            universes = {json.dumps(each["choices"]): each["choices"] for each in entries}
            whole = [
                choices
                for told, choices in universes.items()
                if (any if begun else all)(
                    each["run_id"] in done
                    for each in entries
                    if json.dumps(each["choices"]) == told and each["arm"] == "reference"
                )
            ]
            for name, values in plan.study.choices.trained.items():
                counts = [sum(each[name] == value for each in whole) for value in values]
                assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("name", [name for name in studies() if name.startswith("multiverse_")])
def test_the_multiverses_that_ship_say_what_they_vary(name):
    plan = expand(read(name))
    choices = plan.study.choices
    assert len({json.dumps(run.choices) for run in plan.runs}) == len(choices.universes) > 10
    assert set(choices.analysed) >= {"test", "paired", "ddof"}
    arms = {(json.dumps(run.choices), run.arm, run.settings["seed"]) for run in plan.runs}
    assert len(arms) == len(plan.runs) == len(choices.universes) * 2 * 5


def test_the_plan_prices_universes(tmp_path, monkeypatch, capsys):
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({**SMALL, "choices": {"vary": VARY}}))
    monkeypatch.chdir(tmp_path)
    assert main(["plan", str(path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "3 universes (one_at_a_time) of 4 combinations of 2 switches, 2 runs serve several" in told
    )
    assert "centroid against reference in 3 universes" in told
    assert main(["plan", str(path), "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert sum(len(run["choices"]) for run in runs) == 12


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"vary": {"selecton": "all"}}, "a switch must be one .*got 'selecton'; did you mean sel"),
        ({"vary": {"order": ["up"]}}, "choices: order must be among shuffled, .*: got 'up'"),
        ({"vary": {"epochs": [3, "few"]}}, "epochs must be among .* or a number: got 'few'"),
        ({"vary": {"order": ["fixed", "fixed"]}}, "order must list each value once: got"),
        ({"vary": {"pretraining_epochs": "all"}}, "may not vary what runs are pretrained with: go"),
        ({"vary": {}}, "choices must vary a switch: got none"),
        ({"vary": VARY, "desing": "full"}, "choices may hold .*got 'desing'; did you mean design"),
        ({"vary": VARY, "design": "ful"}, "design must be full.* or budget=40: got 'ful'; did you"),
        ({"vary": VARY, "design": "budget=0"}, "design must be .*: got 'budget=0'"),
        ({"vary": VARY, "seed": "x"}, "choices: seed must be a whole number: got 'x'"),
        ({"vary": VARY, "impossible": [{"ddof": 1}]}, "impossible may hold few_labels, .*'ddof'"),
        ({"vary": VARY, "impossible": [{"few_labels": "up"}]}, "values of few_labels that vary: g"),
        ({"vary": VARY, "impossible": [{}]}, "impossible must name values of switches: got an emp"),
    ],
)
def test_what_choices_may_not_say(more, message):
    with pytest.raises(UserError, match=message):
        parse_study("small", {**SMALL, "choices": more})


def test_an_arm_that_is_a_switch_is_refused():
    arms = {
        "reference": {"model": "logreg"},
        "balanced": {"model": "logreg", "model.class_weight": "balanced"},
    }
    with pytest.raises(UserError) as caught:
        expand(study({"baseline_class_weights": "all"}, arms=arms))
    assert str(caught.value) == (
        "an arm may not itself be a switch that varies: got arm balanced, which differs from "
        "reference in model.class_weight, while choices vary baseline_class_weights; take "
        "baseline_class_weights out of choices, or let it vary there and leave the arm out"
    )
    # The same arms with another switch are a study.
    assert expand(study({"few_labels": ["nested", "plain"]}, arms=arms)).runs


def test_an_arm_of_another_protocol_is_a_switch_as_well():
    arms = {
        "reference": {"model": "logreg"},
        "paper": {"model": "logreg", "protocol": "paper_code"},
    }
    with pytest.raises(UserError, match=r"arm paper, which differs from reference in protocol, wh"):
        expand(study({"few_labels": ["nested", "plain"]}, arms=arms))


@pytest.mark.parametrize(
    ("vary", "words", "top", "message"),
    [
        (
            {"schedule": "all"},
            [],
            {},
            "vary what a model of the study reads: got schedule, which none of reference, centroid",
        ),
        (
            {"few_labels": "all"},
            ["protocol.fewshot=random"],
            {},
            "varied by choices, or by the grid or a word: got protocol.fewshot, which the switch",
        ),
        (
            {"few_labels": "all"},
            [],
            {"grid": {"seed": [1], "protocol.fewshot": ["random", "stratified"]}},
            "by the grid or a word: got protocol.fewshot",
        ),
        (
            {"split_seed": "all"},
            [],
            {
                "pretraining": {"body": {"model": "scbert", "train": "pretrain_tiny"}},
                "arms": {
                    "reference": {"model": "scbert", "model.pretrained": "@body"},
                    "scratch": {"model": "scbert"},
                },
            },
            "may not change the reported cells where runs are pretrained: .*: got 'split_seed'",
        ),
    ],
)
def test_choices_that_make_no_sense_in_a_study(vary, words, top, message):
    with pytest.raises(UserError, match=message):
        expand(study(vary, **top), words)
