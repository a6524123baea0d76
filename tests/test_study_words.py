"""A study can say whatever the command line can, and means the same by it."""

import json
from dataclasses import fields

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from leadline.config import SCHEMAS, RunConfig
from leadline.config.compose import compose, compose_many, options, parse, values_of
from leadline.errors import UserError
from leadline.studies import expand, read
from leadline.studies.overrides import to_override, to_overrides
from leadline.studies.schema import NOT_IN_A_FILE, Strict

MODULE = """
class Mine:
    def __init__(self, **settings): ...
    def fit(self, X, y): ...
    def predict_proba(self, X): ...
"""
STUDY = """
question: Does it say the same?
arms:
  reference: {model: majority}
  ours:
    against: null
    %s
grid: {%s}
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "their_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


def by_study(tmp_path, lines):
    """Give the configuration, or the refusal, of an arm that has these lines of YAML."""
    # A setting is either set or varied.
    set_already = any(line.startswith("data.min_genes") for line in lines)
    grid = "task: [classify]" if set_already else "data.min_genes: [0]"
    (tmp_path / "s.yaml").write_text(STUDY % ("\n    ".join(lines), grid))
    try:
        (wish,) = (wish for wish in expand(read("s.yaml")).runs if wish.arm == "ours")
        return repr(compose_many([to_overrides(wish.settings)])[0])
    except UserError as error:
        return error


def by_words(words):
    """Give the configuration, or the refusal, of a run with these words."""
    try:
        given = {word.partition("=")[0] for word in words}
        rest = [] if "data.min_genes" in given else ["data.min_genes=0"]
        return repr(compose_many([[*words, *rest]])[0])
    except UserError as error:
        return error


def same(study, words):
    if isinstance(study, UserError) or isinstance(words, UserError):
        assert type(study) is type(words), (study, words)
    else:
        assert study == words


def chosen_by(group):
    """Name the word that chooses a group's option: a task brings its settings."""
    return "task" if group == "task_settings" else group


def every_field():
    """List a group's option for each schema, with each field and the value it has there."""
    for group in SCHEMAS:
        kinds = {}
        for option in options(group):
            made = getattr(compose([f"{chosen_by(group)}={option}"]), group)
            kinds.setdefault(type(made), (option, made))
        for option, made in kinds.values():
            for item in fields(made):
                yield group, option, item.name, getattr(made, item.name)


def others(value):
    """Give values that a field may take, or may refuse, in which YAML could go wrong."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1]
        case float():
            return [value / 2, 1e-05]
        case list():
            return [[], [1, 2], ["a, b", "c: {d}"]]
        case dict():
            return [{}]
        case None:
            return [3, "it's 1, [2] {3}: 'x'"]
    return ["", "false", "it's 1, [2] {3}: 'x'"]


def both_ways(tmp_path, group, option, name, value):
    key = f"{group}.{name}"
    held = yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0]
    word = chosen_by(group)
    lines, words = [f"{word}: {option}", f"{key}: {held}"], [f"{word}={option}"]
    if name == "folds" and value is not None:
        # Without a fold, a study makes a run for each.
        lines, words = [*lines, f"{group}.fold: 1"], [*words, f"{group}.fold=1"]
    study = by_study(tmp_path, lines)
    if group == "tracker":
        assert "give tracker= on the command line" in str(study)
    else:
        same(study, by_words([*words, f"{key}={json.dumps(value)}"]))


def test_every_field_of_every_schema_says_the_same_in_a_study(tmp_path):
    tried = [(group, name) for group, _, name, _ in every_field()]
    for group, option, name, default in every_field():
        both_ways(tmp_path, group, option, name, default)
    assert len(set(tried)) > 90


@pytest.mark.slow
def test_every_field_takes_or_refuses_other_values_alike(tmp_path):
    for group, option, name, default in every_field():
        for value in others(default) if group != "tracker" else []:
            both_ways(tmp_path, group, option, name, value)


@pytest.mark.parametrize("item", fields(RunConfig), ids=lambda item: item.name)
def test_the_settings_of_a_run_itself_are_said_or_refused(tmp_path, item):
    value = {"task": "pretrain", "seed": 5}.get(item.name, "x")
    study = by_study(tmp_path, [f"{item.name}: {value}"])
    if item.name in NOT_IN_A_FILE or item.name == "tracker":
        assert "not where or for whom" in str(study)
    else:
        same(study, by_words([f"{item.name}={value}"]))


# What YAML holds → what a person types to mean the same.
ALIKE = {
    "null": "null",
    "True": "True",
    "yes": "yes",
    "off": "off",
    "-3": "-3",
    "+3": "+3",
    "1_000": "1_000",
    "010": "010",
    "08": "08",
    "0x10": "0x10",
    "1:30": "1:30",
    "2026-01-01": "2026-01-01",
    "1e-3": "1e-3",
    "-1.5E+3": "-1.5E+3",
    ".5": ".5",
    "5.": "5.",
    "inf": "inf",
    "-inf": "-inf",
    "nan": "nan",
    "'1'": "'1'",
    "'true'": "'true'",
    "''": "''",
    "' a '": "' a '",
    "a b": "'a b'",
    "é": "'é'",
    "'a, b: [c] {d} = \"e\"'": "'a, b: [c] {d} = \"e\"'",
    '"it\'s"': r"'it\'s'",
    '"{pair: 0}"': "'{pair: 0}'",
    r"'C:\x\'": r"'C:\x\\'",
    "[]": "[]",
    "[1, [2, [null, x]], {a: 1}]": "[1, [2, [null, x]], {a: 1}]",
    "{}": "{}",
    "{a: 1}": "{a: 1}",
    "{a: {b: {c: [1, {d: null}]}}}": "{a: {b: {c: [1, {d: null}]}}}",
    "{1: x, 2: y}": "{1: x, 2: y}",
    "{a b: x}": "{a b: x}",
    "{a.b-c: x}": "{a.b-c: x}",
    "{'a,b': x}": r"{a\,b: x}",
    "{null: x}": "{null: x}",
    "{'é': x}": "{é: x}",
    "'${seed}'": "'${seed}'",
    "'a ${model.name} b'": "'a ${model.name} b'",
    "'${nothing}'": "'${nothing}'",
    "'${'": "'${'",
    "'???'": "'???'",
    "'@@x'": "'@x'",
}
WHERE = {
    "data.label": [],
    "seed": [],
    "train.lr": ["model=mlp"],
    "train.compile": ["model=mlp"],
    "model.hidden": ["model=mlp"],
    "model.allow_missing": ["model=scbert"],
    "model.options": ["model=python:their_model.Mine"],
}


@pytest.mark.slow
@pytest.mark.parametrize("key", WHERE)
def test_awkward_values_go_through_or_are_refused_alike(tmp_path, key):
    head = [word.replace("=", ": ") for word in WHERE[key]]
    for held, typed in ALIKE.items():
        study = by_study(tmp_path, [*head, f"{key}: {held}"])
        same(study, by_words([*WHERE[key], f"{key}={typed}"]))


# What no argument can hold, whoever says it.
REFUSED = ("{null: x}", "{'é': x}", "'${nothing}'", "'${'", "'???'", "inf", "-inf", "nan")


@pytest.mark.parametrize(("held", "typed"), ALIKE.items())
def test_arguments_of_a_class_of_ones_own(tmp_path, held, typed):
    # A mark is the whole value of a setting; inside a mapping the letter is only a letter.
    inside = held.replace("@@", "@")
    head = ["model: python:their_model.Mine", f"model.options: {{deep: [{inside}], v: {inside}}}"]
    words = ["model=python:their_model.Mine", f"model.options={{deep: [{typed}], v: {typed}}}"]
    study = by_study(tmp_path, head)
    same(study, by_words(words))
    assert isinstance(study, UserError) == (held in REFUSED), study


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{1: a}", "holds arguments of the constructor by name: got {1: 'a'}"),
        ("{a: {1: x, b: y}}", "keys of one kind in a mapping: got {'a': {1: 'x', 'b': 'y'}}"),
        ("{a: [nan]}", "holds what JSON can: finite numbers"),
    ],
)
def test_arguments_that_no_record_can_hold_are_refused(options, message):
    words = ["model=python:their_model.Mine", f"model.options={options}"]
    with pytest.raises(UserError, match=message):
        compose(words)


EVERYWHERE = """
question: Does depth matter?
base: {model: "python:their_model.Mine", model.options: {depth: 1, names: {a: [x y]}}}
pretraining: {body: {model: scbert, model.hidden: [8, 9]}, head: {model: scbert}}
by_size: [{below: 3000, settings: {train.lr: 0.5}}, {settings: {}}]
reference: one
arms:
  one: {}
  two: {model.options: {depth: true, names: {a: [x y]}}, also: {model.options: a switch}}
  three:
    against: null
    model: scbert
    grid: {model.pretrained: ["@body", "@head", false], seed: [1]}
  four:
    against: null
    model: "python:their_model:Mine"
    model.name: other
    grid: {seed: [1], train.lr: [1e-3]}
"""


def test_mappings_and_marks_wherever_settings_are(tmp_path):
    (tmp_path / "s.yaml").write_text(EVERYWHERE)
    plan = expand(read("s.yaml"))
    held = {wish.arm: wish.settings.get("model.options") for wish in plan.runs}
    assert held["one"] == {"depth": 1, "names": {"a": ["x y"]}} and held["two"]["depth"] is True
    assert plan.factors["two"] == ["model.options"] and list(plan.pretraining) == ["body", "head"]
    assert [wish.starts_from for wish in plan.runs if wish.arm == "three"] == [
        ["body"],
        ["head"],
        [],
    ]
    assert plan.runs[-1].point == "train.lr=0.001"


def test_a_grid_of_mappings_and_the_same_from_the_command_line(tmp_path):
    grid = "model.options: [{a: 1}, {a: true}, {a: '1'}, {a: {b: null}}, {a: 'x y'}]"
    (tmp_path / "s.yaml").write_text(f"""
question: Which?
base: {{model: "python:their_model.Mine"}}
arms: {{reference: {{}}}}
grid: {{{grid}}}
""")
    word = "model.options={a: 1},{a: true},{a: '1'},{a: {b: null}},{a: 'x y'}"
    filed, said = (expand(read("s.yaml"), words).runs for words in ([], [word]))
    assert len(filed) == 5 and [one.settings for one in filed] == [one.settings for one in said]
    (one,) = expand(read("s.yaml"), ["model.options={a: 'x y'}"]).runs
    assert one.settings == filed[-1].settings


def test_a_class_of_ones_own_may_be_chosen_for_a_whole_study(tmp_path):
    (tmp_path / "s.yaml").write_text("question: x\narms: {reference: {}}")
    (one,) = expand(read("s.yaml"), ["model=python:their_model.Mine", "data.label=@x"]).runs
    assert compose(to_overrides(one.settings)).model.target == "their_model:Mine"
    assert one.starts_from == [] and one.settings["data.label"] == "@x"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["model: {size: tiny}"], "one by one, as in model.size=…"),
        (["model.options.pair: 0"], "model must have the setting that is given"),
        (["model.options: {1: a, {a: 1}: b}"], "YAML.*a key must be text or a number"),
        (["data.label: !!binary aGk="], "a setting holds a number.*; put it into quotes"),
        (["model.options: {'1': x}"], "arm ours: a key of a mapping must be text that.*got '1'"),
        (["model.pretrained: '@nobody'"], "must name a run of.*; write @@nobody for the text"),
    ],
)
def test_what_neither_can_say_is_refused_in_one_line(tmp_path, lines, message):
    (tmp_path / "s.yaml").write_text(STUDY % ("\n    ".join(lines), "seed: [1]"))
    with pytest.raises(UserError, match=message) as caught:
        expand(read("s.yaml"))
    assert "\n" not in str(caught.value)


keys = st.text("abé_- .,:{}[]()=$'1\\", min_size=1, max_size=4)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
nested = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@given(nested)
def test_any_value_is_read_back_from_its_word(value):
    try:
        word = to_override(value)
    except UserError:
        return
    (override,) = parse([f"a={word}"])
    assert repr(override.value()) == repr(value)
    (read_back,) = values_of([f"model.options={word}"])["model.options"]
    assert repr(read_back) == repr(value)


@given(st.from_regex(r"[+-]?[0-9a-fA-F_.xeEinNft:+-]{1,6}", fullmatch=True))
def test_a_plain_value_means_in_a_study_what_it_means_on_the_command_line(text):
    try:
        (override,) = parse([f"a={text}"])
        held = yaml.load(text, Loader=Strict)
    except (UserError, yaml.YAMLError):
        return
    # YAML's own ways to write an infinity, a list, a mapping, and the beginning of a document.
    own = text.lower().lstrip("+-") in (".inf", ".nan", "") or isinstance(held, dict | list)
    if not own:
        assert repr(held) == repr(override.value())
